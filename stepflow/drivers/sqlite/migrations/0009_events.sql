-- The publish id counts per name: one message may be two events of a run.

ALTER TABLE stepflow_events RENAME TO stepflow_events_6;
DROP INDEX stepflow_events_pending;

CREATE TABLE stepflow_events (
    seq          INTEGER NOT NULL PRIMARY KEY,
    shard        TEXT    NOT NULL,
    run_id       TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    id           TEXT    NOT NULL,
    payload      TEXT    NOT NULL,
    published_at INTEGER NOT NULL,
    taken        INTEGER NOT NULL DEFAULT 0,
    format       INTEGER NOT NULL DEFAULT 1,
    UNIQUE (shard, run_id, name, id)
);

INSERT INTO stepflow_events SELECT * FROM stepflow_events_6;
DROP TABLE stepflow_events_6;
CREATE INDEX stepflow_events_pending ON stepflow_events (shard, run_id, name) WHERE taken = 0;
