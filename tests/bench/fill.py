"""Fills stores with what the measured runs have to live beside: written by stepflow, and copied from what it wrote."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

from stepflow import AsyncEngine, StateCtx, commit, delay, named, park
from stepflow.engine.clock import timestamp
from tests.bench import clone
from tests.bench.ours import flow_of
from tests.bench.part import MONTH, READY, Part, id_of
from tests.bench.target import target

MANY = 500  # delays of one commit

KINDS: Mapping[str, tuple[Part, ...]] = {
    "sleepers": (Part("asleep", 1.0, MONTH),),
    "due": (READY,),
    "asleep": (Part("asleep", 1.0, MONTH), READY),
    "finished": (Part("finished", 1.0, -MONTH), READY),
    "ended": (Part("finished", 1.0, -MONTH),),
    "delays": (Part("delays", 1.0, MONTH), READY),
    "mixed": (Part("ready", 0.5, mixed=True), Part("asleep", 0.5, MONTH, mixed=True)),
}
"""Kind of a filled store -> its parts. Claims take the runs that are ready."""


async def _start(engine: AsyncEngine, part: Part, rows: int, begin: datetime) -> None:
    """Start the runs of a part, 512 clients at a time."""
    flow = named("short").do("only", lambda: None).compile() if part.name == "finished" else flow_of("async")
    todo: Iterator[int] = iter(range(rows))

    async def client() -> None:
        for n in todo:
            await engine.start(flow, id=id_of(part, n), at=part.due(begin, n), priority=part.priority(n))

    await asyncio.gather(*(client() for _ in range(512)))
    if part.name == "finished":
        engine.register(flow)
        await engine.run_until_idle()


async def _delay(engine: AsyncEngine, part: Part, rows: int, begin: datetime) -> None:
    """Let a parked State wait for so many delays."""
    ctx = StateCtx(id_of(part, 0))
    await engine.do(commit(park(ctx)))
    for first in range(0, rows, MANY):
        some = range(first, min(rows, first + MANY))
        await engine.do(commit(*(delay(ctx, "bench", part.due(begin, n), commit=False) for n in some)))


def make(folder: Path, *, store: str, place: str, kind: str, rows: int, ready: int) -> dict[str, Any]:
    """Make a store of that kind with `rows` rows and `ready` runs to claim; `now` is when claims shall look at it.

    SQLite and PostgreSQL: stepflow writes the first row of a large part, and SQL copies it.
    """
    at, begin = target(store, place), datetime.now(UTC)
    sql = store in ("sqlite", "postgres")
    sizes = {p: max(1, round(rows * p.share), ready if p.name == "ready" else 0) for p in KINDS[kind]}

    async def write(part: Part) -> None:
        async with AsyncEngine(at.driver, commit_on_loop=True) as engine:
            by_hand = 1 if sql and part.share else sizes[part]
            await (_delay if part.name == "delays" else _start)(engine, part, by_hand, begin)

    began = perf_counter()
    for part, size in sizes.items():
        asyncio.run(write(part))
        if sql and part.share:
            clone.part(at, part, size - 1)
    if sql:
        clone.tidy(at)
    spent = perf_counter() - began
    found = {part: at.delays() if part.name == "delays" else at.runs(f"{part.name}-") for part in sizes}
    now = timestamp(begin + MONTH - timedelta(microseconds=1))
    total = sum(sizes.values())
    return {"value": total / spent, "now": now, "steps": sum(found.values()), "expected": total}
