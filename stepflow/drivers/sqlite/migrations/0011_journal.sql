-- Results of single calls of runs. seq orders the rows of a run and is not given again; rows that are written together share
-- pages whatever runs they are of. run_id is the key of a queue row: that of a run, or of a delay until it fires.

CREATE TABLE stepflow_journal (
    seq    INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    shard  TEXT    NOT NULL,
    run_id TEXT    NOT NULL,
    key    TEXT    NOT NULL,
    kind   TEXT    NOT NULL,
    name   TEXT    NOT NULL,
    text   TEXT    NOT NULL,
    failed INTEGER NOT NULL,
    epoch  INTEGER NOT NULL,
    format INTEGER NOT NULL DEFAULT 1,
    UNIQUE (shard, run_id, key)
);
