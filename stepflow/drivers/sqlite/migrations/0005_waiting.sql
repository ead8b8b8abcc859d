-- Runs that wait for an event have no queue row: this finds them, so that they can be counted whatever else there is.

CREATE INDEX stepflow_states_waiting ON stepflow_states (shard, flow) WHERE event <> '';
