-- Runs that wait for an event have no queue row: this finds them, so that they can be counted whatever else there is.

create index states_waiting on stepflow.states (shard, flow) where waiting like 'event:_%';
