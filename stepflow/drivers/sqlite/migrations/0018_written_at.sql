-- When a journal row was written last, microseconds UTC; 0, unknown, of rows that are older than this column.

ALTER TABLE stepflow_journal ADD COLUMN written_at INTEGER NOT NULL DEFAULT 0;
