-- Flow control. limits is the text of a run's limits, empty for none: in the queue what a claim must respect, in the states what
-- holds for later rows of the run. lane 4: due, with limits; those rows wait in one line per text.

alter table stepflow.states add column limits text collate "C" not null default '';
alter table stepflow.queue  add column limits text collate "C" not null default '';

create index queue_limited on stepflow.queue (shard, flow, limits, priority, due, id) where lane = 4;
create index queue_sharing on stepflow.queue (shard, limits, id) where lane = 3 and limits <> '';

-- When runs whose limits have a rate began; in the namespace's first shard, as is the next table.
create table stepflow.begun (
    shard text collate "C" not null,
    key   text collate "C" not null,
    at    bigint           not null
);

create index begun_at on stepflow.begun (shard, key, at);

-- Which run was started with a deduplication key, and until when the key holds.
create table stepflow.once (
    shard  text collate "C" not null,
    key    text collate "C" not null,
    run_id text collate "C" not null,
    until  bigint           not null,
    primary key (shard, key)
);
