-- Lists begin at the runs of one flow and status, so that they cost the same however many others there are.

DROP INDEX stepflow_states_created;
DROP INDEX stepflow_states_ended;
CREATE INDEX stepflow_states_listed ON stepflow_states (shard, flow, status, created_at, id);
