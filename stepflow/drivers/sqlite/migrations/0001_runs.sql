-- Runs, their history, the ready queue, events, owners and the inbox. Times are microseconds UTC.
-- Every key begins with the shard, `<namespace>/<k>`. `format` tells how the JSON texts of a row are to be read.

CREATE TABLE stepflow_meta (
    name  TEXT    NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

-- rev_floor: no revision up to it is given again, even if its history was pruned. epoch: the last one given.
INSERT INTO stepflow_meta (name, value) VALUES ('schema', 1), ('shards', 1), ('rev_floor', 0), ('epoch', 0);

-- Rows of states and queue lie in the order in which runs were created, not in that of their ids: runs that are advanced
-- together then share pages, and a commit writes a few pages instead of one per run.
-- status, event and polls (waits for something else than time) are derived from the transition; exchange_rev is the history row that holds the exchange's text.
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
    UNIQUE (shard, id)
);

-- No index here may hold a column that a step changes: a step must not pay for lists.
CREATE INDEX stepflow_states_created ON stepflow_states (shard, created_at, id);
CREATE INDEX stepflow_states_ended ON stepflow_states (shard, status, created_at, id) WHERE status <> '';

CREATE TABLE stepflow_labels (
    shard TEXT NOT NULL,
    id    TEXT NOT NULL,
    name  TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (shard, id, name)
) WITHOUT ROWID;

CREATE INDEX stepflow_labels_value ON stepflow_labels (shard, name, value, id);

-- prev links the revisions of a run: an index on (shard, id) would dirty one more page per step, which halves the speed.
-- exchange is NULL where it did not change.
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

-- lane of an unowned row: 0 sleeps, 1 due or blocked, 2 suspect (two crashes or more). Owned rows keep an old value.
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
    lane       INTEGER NOT NULL,
    UNIQUE (shard, id)
);

-- One index per lane: what sleeps costs a claim nothing.
CREATE INDEX stepflow_queue_later ON stepflow_queue (shard, flow, due) WHERE owner = '' AND lane = 0;
CREATE INDEX stepflow_queue_next ON stepflow_queue (shard, flow, blocked_by, priority, due, id)
    WHERE owner = '' AND lane = 1;
CREATE INDEX stepflow_queue_suspect ON stepflow_queue (shard, flow, priority, due, id) WHERE owner = '' AND lane = 2;
CREATE INDEX stepflow_queue_owned ON stepflow_queue (shard, owner, flow) WHERE owner <> '';

-- A consumed event stays, without its payload, so that publishing it again is still recognised.
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
    UNIQUE (shard, run_id, id)
);

CREATE INDEX stepflow_events_pending ON stepflow_events (shard, run_id, name) WHERE taken = 0;

CREATE TABLE stepflow_owners (
    shard TEXT    NOT NULL,
    id    TEXT    NOT NULL,
    host  TEXT    NOT NULL,
    pid   INTEGER NOT NULL,
    beat  INTEGER NOT NULL,
    PRIMARY KEY (shard, id)
) WITHOUT ROWID;

-- Commits that were posted through the transactions of callers, as JSON; the next session that looks applies them.
CREATE TABLE stepflow_inbox (
    seq    INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    shard  TEXT    NOT NULL,
    body   TEXT    NOT NULL,
    format INTEGER NOT NULL DEFAULT 1
);
