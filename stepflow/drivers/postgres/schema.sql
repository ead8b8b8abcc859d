-- The tables as all migrations together make them, for a new schema: one script costs a third of theirs. Change it with each new
-- migration; tests/postgres/test_migrate.py compares the catalogs. Columns are in the order of the migrations, which say what each
-- is for, and names of constraints are those that tables and columns were made with.

create sequence stepflow.revs cache 1;
create sequence stepflow.epochs cache 1;
create sequence stepflow.seqs cache 1;
create sequence stepflow.sessions cache 1;
create sequence stepflow.posts cache 1;

create table stepflow.meta (
    name  text   not null primary key,
    value bigint not null
);

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
    delay        bigint,
    limits       text collate "C" not null default '',
    primary key (shard, id)
) with (fillfactor = 60);

create table stepflow.labels (
    shard      text collate "C" not null,
    label      text collate "C" not null,
    id         text collate "C" not null,
    created_at bigint           not null,
    primary key (shard, label, created_at, id)
);

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

create table stepflow.queue (
    shard      text collate "C" not null,
    id         text collate "C" not null,
    flow       text collate "C" not null,
    due        bigint           not null,
    partition  smallint         constraint queue_lane_not_null not null,
    owner      text collate "C" not null default '',
    claim_rev  bigint           not null default 0,
    priority   bigint           not null default 0,
    crashes    integer          not null default 0,
    cancel     boolean          not null default false,
    blocked    text             not null default '',
    blocked_by text collate "C" not null default '',
    limits     text collate "C" not null default '',
    epoch      bigint,
    unfinished integer          not null default 0,
    paused     boolean          not null default false,
    holding    bigint,
    primary key (shard, id)
) with (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

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
    traceparent  text,
    primary key (shard, run_id, name, id)
);

create table stepflow.owners (
    shard        text collate "C" not null,
    id           text collate "C" not null,
    host         text             not null,
    pid          bigint           not null,
    beat         bigint           not null,
    locks        boolean          not null,
    flows        text             not null default '[]',
    process      text             not null default '',
    boot         text             not null default '',
    reclaimed_at bigint           not null default 0,
    counted      text             not null default '[]',
    beat_at      bigint           not null default 0,
    primary key (shard, id)
) with (fillfactor = 50);

create table stepflow.inbox (
    shard  text collate "C" not null,
    seq    bigint           not null,
    body   text             not null,
    format smallint         not null default 1,
    primary key (shard, seq)
);

create table stepflow.counters (
    shard text collate "C" not null,
    name  text collate "C" not null,
    last  bigint           not null default 0,
    primary key (shard, name)
) with (fillfactor = 50);

create table stepflow.delays (
    shard        text collate "C" not null,
    number       bigint           not null,
    run_id       text collate "C" not null,
    rev          bigint           not null,
    token        bigint           not null,
    transition   text             not null,
    labels       text             not null,
    annotations  text             not null,
    committed_at bigint           not null,
    due          bigint           not null,
    binding      boolean          not null,
    fired        boolean          not null default false,
    format       smallint         not null default 1,
    primary key (shard, number)
);

create table stepflow.data (
    shard       text collate "C" not null,
    rev         bigint           not null,
    run_id      text collate "C" not null,
    token       bigint           not null,
    annotations text             not null,
    format      smallint         not null default 1,
    blob        bytea            not null,
    primary key (shard, rev)
);

create table stepflow.begun (
    shard text collate "C" not null,
    key   text collate "C" not null,
    at    bigint           not null,
    runs  bigint           not null default 1
);

create table stepflow.dedup_keys (
    shard  text collate "C" constraint once_shard_not_null not null,
    key    text collate "C" constraint once_key_not_null not null,
    run_id text collate "C" constraint once_run_id_not_null not null,
    until  bigint           constraint once_until_not_null not null,
    constraint once_pkey primary key (shard, key)
);

create table stepflow.journal (
    shard  text collate "C" not null,
    run_id text collate "C" not null,
    key    text collate "C" not null,
    seq    bigint           not null,
    kind   text             not null,
    name   text             not null,
    text   text             not null,
    failed boolean          not null,
    epoch  bigint           not null,
    token  bigint           not null,
    format smallint         not null default 1,
    written_at bigint       not null default 0,
    primary key (shard, run_id, key)
);

create table stepflow.conflicts (
    shard  text collate "C" not null,
    seq    bigint           not null,
    run_id text collate "C" not null,
    posted text             not null,
    reason text             not null,
    at     bigint           not null,
    body   text             not null,
    primary key (shard, seq)
);

create table stepflow.schedules (
    shard   text collate "C" not null,
    id      text collate "C" not null,
    version bigint           not null,
    due     bigint,
    body    text             not null,
    format  smallint         not null default 1,
    primary key (shard, id)
);

create table stepflow.tallied (
    shard    text collate "C" not null primary key,
    rev      bigint           not null,
    prunings bigint           not null,
    counts   text             not null
);

create table stepflow.paused_flows (
    shard text collate "C" not null,
    flow  text collate "C" not null,
    since bigint           not null,
    primary key (shard, flow)
);

-- What the planner shall know, as 0001_runs.sql says: of the columns that the migrations analysed.
alter table stepflow.states  alter column shard set (n_distinct = 1);
alter table stepflow.labels  alter column shard set (n_distinct = 1);
alter table stepflow.history alter column shard set (n_distinct = 1);
alter table stepflow.queue   alter column shard set (n_distinct = 1);
alter table stepflow.events  alter column shard set (n_distinct = 1);
alter table stepflow.inbox   alter column shard set (n_distinct = 1);
alter table stepflow.delays  alter column shard set (n_distinct = 1);
alter table stepflow.data    alter column shard set (n_distinct = 1);
alter table stepflow.journal alter column shard set (n_distinct = 1);
insert into stepflow.states  values ('', '', 0, 0, '', '', 0, '{}', '{}', '{}', '', '', 0, 0);
insert into stepflow.labels  values ('', '', '', 0);
insert into stepflow.history values ('', 0, '', 0, 0, '{}', '{}', '{}', 0, 0);
insert into stepflow.queue   values ('', '', '', 0, 0);
insert into stepflow.events  values ('', '', '', 0, '', '', 0);
insert into stepflow.inbox   values ('', 0, '');
insert into stepflow.delays  values ('', 0, '', 0, 0, '{}', '{}', '{}', 0, 0, true);
insert into stepflow.data    values ('', 0, '', 0, '{}', 1, '');
insert into stepflow.journal values ('', '', '', 0, '', '', '', false, 0, 0);
analyze stepflow.states (shard, id, rev, epoch, flow, input_hash, created_at, transition, labels, annotations, status, waiting,
        committed_at, exchange_rev, priority, format),
    stepflow.labels (shard, label, id), stepflow.history, stepflow.queue (shard, id, flow, due, partition, owner, claim_rev, priority,
        crashes, cancel, blocked, blocked_by),
    stepflow.events (shard, run_id, id, seq, name, payload, published_at, taken, format), stepflow.inbox, stepflow.delays, stepflow.data,
    stepflow.journal (shard, run_id, key, seq, kind, name, text, failed, epoch, token, format);
truncate stepflow.states, stepflow.labels, stepflow.history, stepflow.queue, stepflow.events, stepflow.inbox, stepflow.delays,
    stepflow.data, stepflow.journal;

-- After the truncation, which would make each anew.
create index states_listed on stepflow.states (shard, flow, status, created_at, id) where delay is null;
create index states_waiting on stepflow.states (shard, flow, created_at, id) where waiting like 'event:_%';
create index states_polling on stepflow.states (shard, flow, created_at, id)
    where waiting not in ('', 'delay') and waiting not like 'event:_%';
create index queue_later on stepflow.queue (shard, flow, due) where partition = 0;
create index queue_ready on stepflow.queue (shard, flow, priority, due, id) where partition = 1;
create index queue_special on stepflow.queue (shard, flow, priority, due, id) where partition = 2;
create index queue_owned on stepflow.queue (shard, owner) where partition = 3;
create index queue_holding on stepflow.queue (shard, holding) where partition = 3 and limits <> '';
create index queue_marked on stepflow.queue (shard, claim_rev) where partition = 3 and cancel;
create index queue_limited on stepflow.queue (shard, flow, limits, priority, due, id) where partition = 4;
create index queue_turns on stepflow.queue (shard, flow, priority, due, id) where partition = 4;
create index queue_paused on stepflow.queue (shard, id) where partition = 5;
create index events_pending on stepflow.events (shard, run_id, seq) where not taken;
create index inbox_starts on stepflow.inbox (shard, (left(body, 200) collate "C"));
create index delays_due on stepflow.delays (shard, due, number);
create index delays_run on stepflow.delays (shard, run_id, due, number);
create index delays_pending on stepflow.delays (shard, due, number) where not fired;
create index data_run on stepflow.data (shard, run_id);
create index begun_at on stepflow.begun (shard, key, at);
create index schedules_due on stepflow.schedules (shard, due, id) where due is not null;
