-- Lists begin at the runs of one flow and status, so that they cost the same however many others there are. The index is
-- partial, as is every other one of this table: for a look-up by key there is only one index that begins with the shard.

drop index stepflow.states_created;
drop index stepflow.states_ended;
create index states_listed on stepflow.states (shard, flow, status, created_at, id) where delay is null;

-- In the order of claims, as that of the ready rows.
drop index stepflow.queue_special;
create index queue_special on stepflow.queue (shard, flow, priority, due, id) where partition = 2;
