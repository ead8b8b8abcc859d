-- Pauses: a paused queue row is in a partition of its own (5), which no claim reads; of a paused flow no run is claimed. Each shard has
-- the rows of all paused flows, so that a claim reads its own shard only.

alter table stepflow.queue add column paused boolean not null default false;

create table stepflow.paused_flows (
    shard text collate "C" not null,
    flow  text collate "C" not null,
    since bigint           not null,
    primary key (shard, flow)
);
