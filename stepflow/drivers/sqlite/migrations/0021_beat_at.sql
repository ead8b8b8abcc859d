-- When an owner beat last, microseconds UTC; 0: it has not beaten since this column was there.
ALTER TABLE stepflow_owners ADD COLUMN beat_at INTEGER NOT NULL DEFAULT 0;
