-- The names that the code uses: a queue row is in one partition (sleeping, ready, blocked or suspect), and a
-- deduplication key holds until a time.

ALTER TABLE stepflow_queue RENAME COLUMN lane TO partition;
ALTER TABLE stepflow_once RENAME TO stepflow_dedup_keys;
