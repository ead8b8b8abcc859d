-- A row is all starts of one claim with a key, so that a window of many starts has few rows.
ALTER TABLE stepflow_begun ADD COLUMN runs INTEGER NOT NULL DEFAULT 1;

-- Due rows with limits in the order of claims, for claims among so many lines that they cannot look at each.
CREATE INDEX stepflow_queue_turns ON stepflow_queue (shard, flow, priority, due, id)
    WHERE owner = '' AND partition = 1 AND limits <> '';
