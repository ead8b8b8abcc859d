-- Schedules: when a worker shall look at each; body is not interpreted here.
CREATE TABLE stepflow_schedules (
    shard   TEXT    NOT NULL,
    id      TEXT    NOT NULL,
    version INTEGER NOT NULL,
    due     INTEGER,
    body    TEXT    NOT NULL,
    format  INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (shard, id)
);
CREATE INDEX stepflow_schedules_due ON stepflow_schedules (shard, due, id) WHERE due IS NOT NULL;
