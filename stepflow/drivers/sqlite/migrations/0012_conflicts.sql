-- What callers' transactions committed and could not take place; seq is that of the inbox.
CREATE TABLE stepflow_conflicts (
    seq    INTEGER NOT NULL PRIMARY KEY,
    shard  TEXT    NOT NULL,
    run_id TEXT    NOT NULL,
    posted TEXT    NOT NULL,
    reason TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    body   TEXT    NOT NULL
);
