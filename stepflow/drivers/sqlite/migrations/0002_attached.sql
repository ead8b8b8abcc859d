-- What hangs on States: delays and data. And the labels that runs once had, for queries of their history.

-- last: the number given last, so that none is given again after pruning.
CREATE TABLE stepflow_counters (
    shard TEXT    NOT NULL,
    name  TEXT    NOT NULL,
    last  INTEGER NOT NULL,
    PRIMARY KEY (shard, name)
) WITHOUT ROWID;

-- key is that of the delay's row in stepflow_queue. exchange_rev is the history row that holds the exchange as of the delay, 0: none.
CREATE TABLE stepflow_delays (
    shard        TEXT    NOT NULL,
    number       INTEGER NOT NULL,
    key          TEXT    NOT NULL,
    run_id       TEXT    NOT NULL,
    rev          INTEGER NOT NULL,
    transition   TEXT    NOT NULL,
    labels       TEXT    NOT NULL,
    annotations  TEXT    NOT NULL,
    committed_at INTEGER NOT NULL,
    due          INTEGER NOT NULL,
    binding      INTEGER NOT NULL,
    fired        INTEGER NOT NULL DEFAULT 0,
    exchange_rev INTEGER NOT NULL,
    format       INTEGER NOT NULL DEFAULT 1,
    UNIQUE (shard, key)
);

CREATE INDEX stepflow_delays_due ON stepflow_delays (shard, due, number);
CREATE INDEX stepflow_delays_run ON stepflow_delays (shard, run_id, due, number);
CREATE INDEX stepflow_delays_pending ON stepflow_delays (shard, due, number) WHERE fired = 0;

CREATE TABLE stepflow_data (
    shard       TEXT    NOT NULL,
    rev         INTEGER NOT NULL,
    run_id      TEXT    NOT NULL,
    annotations TEXT    NOT NULL,
    format      INTEGER NOT NULL DEFAULT 1,
    blob        BLOB    NOT NULL,
    UNIQUE (shard, rev)
);

CREATE INDEX stepflow_data_run ON stepflow_data (shard, run_id);

-- Written only when the labels of a run change. Together with stepflow_labels: all that it ever had.
CREATE TABLE stepflow_past_labels (
    shard TEXT NOT NULL,
    name  TEXT NOT NULL,
    value TEXT NOT NULL,
    id    TEXT NOT NULL,
    PRIMARY KEY (shard, name, value, id)
) WITHOUT ROWID;

CREATE INDEX stepflow_past_labels_id ON stepflow_past_labels (shard, id);
