-- When an owner beat last by the server's clock, microseconds UTC; 0: it has not beaten since this column was there. No row is rewritten.
alter table stepflow.owners add column beat_at bigint not null default 0;
