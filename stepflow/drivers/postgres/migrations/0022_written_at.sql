-- When a journal row was written last, microseconds UTC; 0, unknown, of rows that are older than this column. No row is rewritten.

alter table stepflow.journal add column written_at bigint not null default 0;
