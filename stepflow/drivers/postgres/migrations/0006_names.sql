-- The names that the code uses: a queue row is in one partition (sleeping, ready, blocked, owned, limited), and a
-- deduplication key holds until a time.

alter table stepflow.queue rename column lane to partition;
alter table stepflow.once rename to dedup_keys;
