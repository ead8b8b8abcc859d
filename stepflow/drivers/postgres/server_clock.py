"""The statements that read the server's clock: for the engine's own clock and for a wait, never for a decision inside a statement."""

from __future__ import annotations

TIME = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint"
BOOT_AND_TIME = f"select pg_postmaster_start_time()::text, ({TIME})"
# Takes an advisory lock until the end of the transaction; for how many microseconds another transaction had to be waited for.
LOCK_AND_WAITED = (
    "select case when pg_try_advisory_xact_lock($1) then 0 else"
    " (select (extract(epoch from clock_timestamp() - statement_timestamp()) * 1000000)::bigint"
    " from (select pg_advisory_xact_lock($1)::text as locked offset 0) l where l.locked is not null) end"
)
