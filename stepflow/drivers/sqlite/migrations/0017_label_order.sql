-- The labels of runs in the order in which these were created, so that a list of the runs that have one begins at its newest.
-- Writes each label once: up to a minute where a million runs have two each.

DROP INDEX stepflow_labels_value;
ALTER TABLE stepflow_labels ADD COLUMN created_at INTEGER NOT NULL DEFAULT 0;
UPDATE stepflow_labels SET created_at = ifnull(
    (SELECT s.created_at FROM stepflow_states AS s WHERE s.shard = stepflow_labels.shard AND s.id = stepflow_labels.id), 0);
CREATE INDEX stepflow_labels_listed ON stepflow_labels (shard, name, value, created_at, id);

-- What few open runs are is found whatever others there are: which wait for something else than an event, are blocked, or are paused.
CREATE INDEX stepflow_states_polling ON stepflow_states (shard, flow, created_at, id) WHERE polls AND event = '';
CREATE INDEX stepflow_queue_blocked ON stepflow_queue (shard) WHERE blocked <> '';
CREATE INDEX stepflow_queue_paused ON stepflow_queue (shard) WHERE paused <> 0;
