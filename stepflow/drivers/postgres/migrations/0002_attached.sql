-- What hangs on States: delays and data.

-- A pending delay has a row here too, under its key and without labels, so that it is claimed and fenced as a run is.
alter table stepflow.states add column delay bigint;

-- last: the number given last, so that none is given again after pruning. In the namespace's first shard.
create table stepflow.counters (
    shard text collate "C" not null,
    name  text collate "C" not null,
    last  bigint           not null default 0,
    primary key (shard, name)
) with (fillfactor = 50);

-- token tells which session made the row in which call. Both tables are in the shard of the run.
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

create index delays_due on stepflow.delays (shard, due, number);
create index delays_run on stepflow.delays (shard, run_id, due, number);
create index delays_pending on stepflow.delays (shard, due, number) where not fired;

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

create index data_run on stepflow.data (shard, run_id);

-- The planner shall take every shard for the whole table, here as well.
alter table stepflow.delays alter column shard set (n_distinct = 1);
alter table stepflow.data   alter column shard set (n_distinct = 1);
insert into stepflow.delays values ('', 0, '', 0, 0, '{}', '{}', '{}', 0, 0, true);
insert into stepflow.data   values ('', 0, '', 0, '{}', 1, '');
analyze stepflow.delays;
analyze stepflow.data;
truncate stepflow.delays, stepflow.data;
