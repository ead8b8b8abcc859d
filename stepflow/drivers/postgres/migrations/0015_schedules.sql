-- Schedules: when a worker shall look at each; body is not interpreted here. All of a namespace are in its first shard.

create table stepflow.schedules (
    shard   text collate "C" not null,
    id      text collate "C" not null,
    version bigint           not null,
    due     bigint,
    body    text             not null,
    format  smallint         not null default 1,
    primary key (shard, id)
);

create index schedules_due on stepflow.schedules (shard, due, id) where due is not null;
