-- A claim of a run that polls fences with its queue row alone: epoch is that of such a claim, null where the State has it.
-- So a poll that finds nothing updates one row when it is claimed and the same row when it is released.

alter table stepflow.queue add column epoch bigint;
