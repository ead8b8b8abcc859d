-- Finds the posted starts of an id, by how their texts begin.
create index inbox_starts on stepflow.inbox (shard, (left(body, 200) collate "C"));
