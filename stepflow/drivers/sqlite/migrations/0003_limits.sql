-- Flow control. limits is the text of a run's limits, empty for none: in the queue what a claim must respect, in the states what
-- holds for later rows of the run. Rows wait in one line per text, so the index of claims has the text in front.

ALTER TABLE stepflow_states ADD COLUMN limits TEXT NOT NULL DEFAULT '';
ALTER TABLE stepflow_queue ADD COLUMN limits TEXT NOT NULL DEFAULT '';

DROP INDEX stepflow_queue_next;
CREATE INDEX stepflow_queue_next ON stepflow_queue (shard, flow, limits, blocked_by, priority, due, id)
    WHERE owner = '' AND lane = 1;
CREATE INDEX stepflow_queue_limited ON stepflow_queue (shard, limits, id) WHERE owner <> '' AND limits <> '';

-- When runs whose limits have a rate began.
CREATE TABLE stepflow_begun (
    shard TEXT    NOT NULL,
    key   TEXT    NOT NULL,
    at    INTEGER NOT NULL
);

CREATE INDEX stepflow_begun_at ON stepflow_begun (shard, key, at);

-- Which run was started with a deduplication key, and until when the key holds.
CREATE TABLE stepflow_once (
    shard  TEXT    NOT NULL,
    key    TEXT    NOT NULL,
    run_id TEXT    NOT NULL,
    until  INTEGER NOT NULL,
    PRIMARY KEY (shard, key)
) WITHOUT ROWID;
