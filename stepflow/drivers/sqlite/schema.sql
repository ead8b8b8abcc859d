-- The tables as all migrations together make them, for a new file: one script costs a quarter of theirs. Change it with each new
-- migration; tests/cli/test_migrate.py compares the two. Tables, columns and indexes are in the order of the migrations, which say
-- what each is for.

CREATE TABLE stepflow_meta (
    name  TEXT    NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE stepflow_states (
    shard        TEXT    NOT NULL,
    id           TEXT    NOT NULL,
    rev          INTEGER NOT NULL,
    flow         TEXT    NOT NULL,
    input_hash   TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    transition   TEXT    NOT NULL,
    labels       TEXT    NOT NULL,
    annotations  TEXT    NOT NULL,
    status       TEXT    NOT NULL,
    event        TEXT    NOT NULL,
    polls        INTEGER NOT NULL,
    committed_at INTEGER NOT NULL,
    exchange_rev INTEGER NOT NULL,
    priority     INTEGER NOT NULL DEFAULT 0,
    format       INTEGER NOT NULL DEFAULT 1,
    limits       TEXT    NOT NULL DEFAULT '',
    UNIQUE (shard, id)
);

CREATE TABLE stepflow_labels (
    shard      TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    value      TEXT    NOT NULL,
    created_at INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (shard, id, name)
) WITHOUT ROWID;

CREATE TABLE stepflow_history (
    rev          INTEGER NOT NULL PRIMARY KEY,
    shard        TEXT    NOT NULL,
    id           TEXT    NOT NULL,
    prev         INTEGER NOT NULL,
    transition   TEXT    NOT NULL,
    labels       TEXT    NOT NULL,
    annotations  TEXT    NOT NULL,
    committed_at INTEGER NOT NULL,
    exchange     TEXT,
    format       INTEGER NOT NULL DEFAULT 1
);

CREATE TABLE stepflow_queue (
    shard      TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    flow       TEXT    NOT NULL,
    due        INTEGER NOT NULL,
    owner      TEXT    NOT NULL DEFAULT '',
    epoch      INTEGER NOT NULL,
    claim_rev  INTEGER NOT NULL DEFAULT 0,
    priority   INTEGER NOT NULL DEFAULT 0,
    crashes    INTEGER NOT NULL DEFAULT 0,
    cancel     INTEGER NOT NULL DEFAULT 0,
    blocked    TEXT    NOT NULL DEFAULT '',
    blocked_by TEXT    NOT NULL DEFAULT '',
    partition  INTEGER NOT NULL,
    limits     TEXT    NOT NULL DEFAULT '',
    unfinished INTEGER NOT NULL DEFAULT 0,
    paused     INTEGER NOT NULL DEFAULT 0,
    UNIQUE (shard, id)
);
CREATE INDEX stepflow_queue_later ON stepflow_queue (shard, flow, due) WHERE owner = '' AND partition = 0;
CREATE INDEX stepflow_queue_suspect ON stepflow_queue (shard, flow, priority, due, id) WHERE owner = '' AND partition = 2;
CREATE INDEX stepflow_queue_owned ON stepflow_queue (shard, owner, flow) WHERE owner <> '';

CREATE TABLE stepflow_owners (
    shard TEXT    NOT NULL,
    id    TEXT    NOT NULL,
    host  TEXT    NOT NULL,
    pid   INTEGER NOT NULL,
    beat  INTEGER NOT NULL,
    flows TEXT    NOT NULL DEFAULT '[]',
    beat_at INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (shard, id)
) WITHOUT ROWID;

CREATE TABLE stepflow_inbox (
    seq    INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    shard  TEXT    NOT NULL,
    body   TEXT    NOT NULL,
    format INTEGER NOT NULL DEFAULT 1
);

CREATE TABLE stepflow_counters (
    shard TEXT    NOT NULL,
    name  TEXT    NOT NULL,
    last  INTEGER NOT NULL,
    PRIMARY KEY (shard, name)
) WITHOUT ROWID;

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

CREATE TABLE stepflow_past_labels (
    shard TEXT    NOT NULL,
    name  TEXT    NOT NULL,
    value TEXT    NOT NULL,
    id    TEXT    NOT NULL,
    PRIMARY KEY (shard, name, value, id)
) WITHOUT ROWID;
CREATE INDEX stepflow_past_labels_id ON stepflow_past_labels (shard, id);
CREATE INDEX stepflow_queue_next ON stepflow_queue (shard, flow, limits, blocked_by, priority, due, id)
    WHERE owner = '' AND partition = 1;
CREATE INDEX stepflow_queue_limited ON stepflow_queue (shard, limits, id) WHERE owner <> '' AND limits <> '';

CREATE TABLE stepflow_begun (
    shard TEXT    NOT NULL,
    key   TEXT    NOT NULL,
    at    INTEGER NOT NULL,
    runs  INTEGER NOT NULL DEFAULT 1
);
CREATE INDEX stepflow_begun_at ON stepflow_begun (shard, key, at);

CREATE TABLE stepflow_dedup_keys (
    shard  TEXT    NOT NULL,
    key    TEXT    NOT NULL,
    run_id TEXT    NOT NULL,
    until  INTEGER NOT NULL,
    PRIMARY KEY (shard, key)
) WITHOUT ROWID;
CREATE INDEX stepflow_queue_turns ON stepflow_queue (shard, flow, priority, due, id)
    WHERE owner = '' AND partition = 1 AND limits <> '';
CREATE INDEX stepflow_states_listed ON stepflow_states (shard, flow, status, created_at, id);

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
    traceparent  TEXT,
    UNIQUE (shard, run_id, name, id)
);
CREATE INDEX stepflow_events_pending ON stepflow_events (shard, run_id, name) WHERE taken = 0;
CREATE INDEX stepflow_states_waiting ON stepflow_states (shard, flow, created_at, id) WHERE event <> '';

CREATE TABLE stepflow_journal (
    seq        INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    shard      TEXT    NOT NULL,
    run_id     TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    text       TEXT    NOT NULL,
    failed     INTEGER NOT NULL,
    epoch      INTEGER NOT NULL,
    format     INTEGER NOT NULL DEFAULT 1,
    written_at INTEGER NOT NULL DEFAULT 0,
    UNIQUE (shard, run_id, key)
);

CREATE TABLE stepflow_conflicts (
    seq    INTEGER NOT NULL PRIMARY KEY,
    shard  TEXT    NOT NULL,
    run_id TEXT    NOT NULL,
    posted TEXT    NOT NULL,
    reason TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    body   TEXT    NOT NULL
);

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

CREATE TABLE stepflow_tallied (
    shard    TEXT    NOT NULL PRIMARY KEY,
    rev      INTEGER NOT NULL,
    prunings INTEGER NOT NULL,
    counts   TEXT    NOT NULL
) WITHOUT ROWID;

CREATE TABLE stepflow_paused_flows (
    shard TEXT    NOT NULL,
    flow  TEXT    NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (shard, flow)
) WITHOUT ROWID;
CREATE INDEX stepflow_labels_listed ON stepflow_labels (shard, name, value, created_at, id);
CREATE INDEX stepflow_states_polling ON stepflow_states (shard, flow, created_at, id) WHERE polls AND event = '';
CREATE INDEX stepflow_queue_blocked ON stepflow_queue (shard) WHERE blocked <> '';
CREATE INDEX stepflow_queue_paused ON stepflow_queue (shard) WHERE paused <> 0;
CREATE INDEX stepflow_inbox_starts ON stepflow_inbox (shard, substr(body, 1, 200));

INSERT INTO stepflow_meta (name, value) VALUES ('schema', 0), ('shards', 1), ('rev_floor', 0), ('epoch', 0);
