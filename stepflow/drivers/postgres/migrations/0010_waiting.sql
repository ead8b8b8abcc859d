-- Pages of the runs that wait for an event, in the order of lists.

drop index stepflow.states_waiting;
create index states_waiting on stepflow.states (shard, flow, created_at, id) where waiting like 'event:_%';
