-- The number of a claim of a run with limits, from the sequence of epochs. These claims are made by one session at a time, so
-- their numbers become visible in their order: a session that read the held rows once finds the later ones behind the last number.
-- null: the run is held by a commit, not by a claim.

alter table stepflow.queue add column holding bigint;
drop index stepflow.queue_sharing;
create index queue_holding on stepflow.queue (shard, holding) where partition = 3 and limits <> '';
