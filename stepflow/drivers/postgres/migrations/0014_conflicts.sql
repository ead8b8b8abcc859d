-- What callers' transactions committed and could not take place; seq is that of the inbox.

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
