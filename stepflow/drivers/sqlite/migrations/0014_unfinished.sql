-- How many attempts of the step at the run's revision ended without a commit: their owner died, or was interrupted.

ALTER TABLE stepflow_queue ADD COLUMN unfinished INTEGER NOT NULL DEFAULT 0;
UPDATE stepflow_queue SET unfinished = crashes WHERE crashes > 0;
