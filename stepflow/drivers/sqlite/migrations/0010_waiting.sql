-- Pages of the runs that wait for an event, in the order of lists.

DROP INDEX stepflow_states_waiting;
CREATE INDEX stepflow_states_waiting ON stepflow_states (shard, flow, created_at, id) WHERE event <> '';
