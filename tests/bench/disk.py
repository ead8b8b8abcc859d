"""What a finished run leaves on the disk: the growth of the file after a checkpoint, or of all tables with their indexes."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from attrs import frozen

from stepflow import AsyncEngine
from tests.bench.library import STEPS, named
from tests.bench.ours import flow_of, start_all
from tests.bench.target import target

RELATIONS = """
select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'm') and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg_toast%'
"""
LOG = "select pg_current_wal_insert_lsn() - '0/0'::pg_lsn"


@frozen
class Size:
    """Bytes of a store: what it keeps, and what went through the server's log until then (PostgreSQL only)."""

    kept: int
    logged: int = 0


def size(store: str, place: str) -> Size:
    """The size of a store in which nobody writes: of the file without its log, of the tables after a VACUUM."""
    if store == "sqlite":
        with closing(sqlite3.connect(place, timeout=60)) as file:
            busy = file.execute("pragma wal_checkpoint(truncate)").fetchone()[0]
        if busy:
            raise RuntimeError(f"{place} cannot be checkpointed: another connection reads or writes")
        return Size(Path(place).stat().st_size)
    import psycopg

    def number(query: str) -> int:
        row = connection.execute(query).fetchone()
        return int(row[0]) if row else 0

    with psycopg.connect(place, autocommit=True) as connection:
        logged = number(LOG)
        connection.execute("vacuum")
        return Size(number(RELATIONS), logged)


def figures(store: str, place: str, before: Size, runs: int) -> dict[str, Any]:
    """Bytes per run of the `runs` that were finished since `before`."""
    after = size(store, place)
    found = {"value": (after.kept - before.kept) / runs}
    return {**found, "log_bytes": (after.logged - before.logged) / runs} if store == "postgres" else found


def measure(folder: Path, *, store: str, place: str, library: str, runs: int) -> dict[str, Any]:
    """Bytes that a finished run of ten steps takes: the growth from the first run on."""
    with closing(named(library)(place)) as used:
        used.set_up()

        def finish(n: int) -> None:
            handle = used.start(n)
            used.work()
            used.result(handle)

        finish(0)
        before = size(store, place)
        for n in range(1, runs + 1):
            finish(n)
    found = figures(store, place, before, runs)
    return {**found, "steps": used.steps(), "expected": (runs + 1) * STEPS}


def drained(folder: Path, *, store: str, place: str, runs: int) -> dict[str, Any]:
    """Bytes that a finished run of three steps takes, of those that one engine advances side by side."""
    at, flow = target(store, place), flow_of("async", 3)

    async def finish(ids: list[str]) -> None:
        async with AsyncEngine(at.driver) as engine:
            engine.register(flow)
            await start_all(engine, flow, ids)
            await engine.run_until_idle()

    asyncio.run(finish(["first"]))
    before = size(store, place)
    asyncio.run(finish([f"run-{n:06}" for n in range(runs)]))
    return {**figures(store, place, before, runs), "steps": at.revisions() - at.runs(), "expected": 3 * runs}
