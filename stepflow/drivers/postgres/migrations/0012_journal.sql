-- Results of single calls of runs. seq orders the rows of a run and is not given again; run_id is the key of a queue row: that
-- of a run, or of a delay until it fires. token tells which session made the row in which call.

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
    primary key (shard, run_id, key)
);

-- The planner shall take every shard for the whole table, here as well.
alter table stepflow.journal alter column shard set (n_distinct = 1);
insert into stepflow.journal values ('', '', '', 0, '', '', '', false, 0, 0);
analyze stepflow.journal;
truncate stepflow.journal;
