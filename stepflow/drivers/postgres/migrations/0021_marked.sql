-- The held rows with a mark of a cancellation, so that a beat does not look at the index entries of all rows that were held before.
create index queue_marked on stepflow.queue (shard, claim_rev) where partition = 3 and cancel;
