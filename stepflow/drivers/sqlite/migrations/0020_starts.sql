-- Finds the posted starts of an id, by how their texts begin.
CREATE INDEX stepflow_inbox_starts ON stepflow_inbox (shard, substr(body, 1, 200));
