-- Runs, their history, the ready queue, events, owners and the inbox. Times are microseconds UTC.
-- Every key begins with the shard, `<namespace>/<k>`, so that the tables can be distributed by it. JSON is kept as text.
-- Texts that may hold NUL are stored with \x01 as escape: NUL is \x01\x02, \x01 itself is doubled.

create table stepflow.meta (
    name  text   not null primary key,
    value bigint not null
);

-- One sequence each for revisions, epochs, and the order of events; `cache 1` keeps them in the order of allocation.
create sequence stepflow.revs cache 1;
create sequence stepflow.epochs cache 1;
create sequence stepflow.seqs cache 1;
create sequence stepflow.sessions cache 1;
create sequence stepflow.posts cache 1;

-- epoch is that of the run's queue row, null without one: a step is fenced by the row it updates anyway.
-- status and waiting are derived from the transition; exchange_rev is the history row that holds the exchange's text.
create table stepflow.states (
    shard        text collate "C" not null,
    id           text collate "C" not null,
    rev          bigint           not null,
    epoch        bigint,
    flow         text collate "C" not null,
    input_hash   text             not null,
    created_at   bigint           not null,
    transition   text             not null,
    labels       text             not null,
    annotations  text             not null,
    status       text             not null,
    waiting      text             not null,
    committed_at bigint           not null,
    exchange_rev bigint           not null,
    priority     bigint           not null default 0,
    format       smallint         not null default 1,
    primary key (shard, id)
) with (fillfactor = 60);

-- No index here may hold a column that a step changes: the update of a row would touch every index.
create index states_created on stepflow.states (shard, created_at, id);
create index states_ended on stepflow.states (shard, status, created_at, id) where status <> '';

-- label is the JSON text of [name, value], or its SHA-256 when it is long.
create table stepflow.labels (
    shard text collate "C" not null,
    label text collate "C" not null,
    id    text collate "C" not null,
    primary key (shard, label, id)
);

-- prev links the revisions of a run: an index by id would cost every step one more random page.
-- token tells which session made the row in which call; exchange_rev is the row that holds the exchange as of this one.
create table stepflow.history (
    shard        text collate "C" not null,
    rev          bigint           not null,
    id           text collate "C" not null,
    prev         bigint           not null,
    token        bigint           not null,
    transition   text             not null,
    labels       text             not null,
    annotations  text             not null,
    committed_at bigint           not null,
    exchange_rev bigint           not null,
    exchange     text,
    format       smallint         not null default 1,
    primary key (shard, rev)
);

-- lane: 0 sleeps, 1 is due, 2 is blocked or a suspect (two crashes or more), 3 is owned.
create table stepflow.queue (
    shard      text collate "C" not null,
    id         text collate "C" not null,
    flow       text collate "C" not null,
    due        bigint           not null,
    lane       smallint         not null,
    owner      text collate "C" not null default '',
    claim_rev  bigint           not null default 0,
    priority   bigint           not null default 0,
    crashes    integer          not null default 0,
    cancel     boolean          not null default false,
    blocked    text             not null default '',
    blocked_by text collate "C" not null default '',
    primary key (shard, id)
) with (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

create index queue_later on stepflow.queue (shard, flow, due) where lane = 0;
create index queue_ready on stepflow.queue (shard, flow, priority, due, id) where lane = 1;
create index queue_special on stepflow.queue (shard, flow, blocked_by, due) where lane = 2;
create index queue_owned on stepflow.queue (shard, owner) where lane = 3;

-- A consumed event stays, without its payload, so that publishing it again is still recognised.
create table stepflow.events (
    shard        text collate "C" not null,
    run_id       text collate "C" not null,
    id           text collate "C" not null,
    seq          bigint           not null,
    name         text collate "C" not null,
    payload      text             not null,
    published_at bigint           not null,
    taken        boolean          not null default false,
    format       smallint         not null default 1,
    primary key (shard, run_id, id)
);

create index events_pending on stepflow.events (shard, run_id, seq) where not taken;

-- locks: whether the owner holds a session advisory lock while it lives.
create table stepflow.owners (
    shard text collate "C" not null,
    id    text collate "C" not null,
    host  text             not null,
    pid   bigint           not null,
    beat  bigint           not null,
    locks boolean          not null,
    primary key (shard, id)
) with (fillfactor = 50);

-- Commits that were posted through the transactions of callers, as JSON; the next session that looks applies them.
create table stepflow.inbox (
    shard  text collate "C" not null,
    seq    bigint           not null,
    body   text             not null,
    format smallint         not null default 1,
    primary key (shard, seq)
);

-- The planner shall take every shard for the whole table: so it always looks rows up by all columns of a key, also in
-- tables that just began to grow, and for a namespace that is much larger than most. One row each makes it know that.
alter table stepflow.states  alter column shard set (n_distinct = 1);
alter table stepflow.labels  alter column shard set (n_distinct = 1);
alter table stepflow.history alter column shard set (n_distinct = 1);
alter table stepflow.queue   alter column shard set (n_distinct = 1);
alter table stepflow.events  alter column shard set (n_distinct = 1);
alter table stepflow.inbox   alter column shard set (n_distinct = 1);
insert into stepflow.states  values ('', '', 0, 0, '', '', 0, '{}', '{}', '{}', '', '', 0, 0);
insert into stepflow.labels  values ('', '', '');
insert into stepflow.history values ('', 0, '', 0, 0, '{}', '{}', '{}', 0, 0);
insert into stepflow.queue   values ('', '', '', 0, 0);
insert into stepflow.events  values ('', '', '', 0, '', '', 0);
insert into stepflow.inbox   values ('', 0, '');
analyze stepflow.states;
analyze stepflow.labels;
analyze stepflow.history;
analyze stepflow.queue;
analyze stepflow.events;
analyze stepflow.inbox;
truncate stepflow.states, stepflow.labels, stepflow.history, stepflow.queue, stepflow.events, stepflow.inbox;
