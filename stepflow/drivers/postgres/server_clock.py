"""The statements that read the server's clock: for the engine's own clock, never for a decision inside a statement."""

from __future__ import annotations

TIME = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint"
BOOT_AND_TIME = f"select pg_postmaster_start_time()::text, ({TIME})"
