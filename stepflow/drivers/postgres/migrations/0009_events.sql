-- The publish id counts per name: one message may be two events of a run.

alter table stepflow.events drop constraint events_pkey, add primary key (shard, run_id, name, id);
