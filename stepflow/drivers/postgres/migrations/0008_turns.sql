-- A row of begun is all starts of one claim with a key, so that a window of many starts has few rows.
alter table stepflow.begun add column runs bigint not null default 1;

-- Due rows with limits in the order of claims, for claims among so many lines that they cannot look at each.
create index queue_turns on stepflow.queue (shard, flow, priority, due, id) where partition = 4;
