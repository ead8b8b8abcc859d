"""Turns: how long the first run of a flow waits behind the backlog of another one."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from time import perf_counter
from typing import Any

from stepflow import AsyncEngine, named
from tests.bench.ours import flow_of
from tests.bench.target import target

STEPS, OTHERS, BATCH = 3, 10, 5_000


def measure(folder: Path, *, store: str, place: str, runs: int) -> dict[str, Any]:
    """Per cent of the drain of `runs` runs of three steps that have passed when the first run of another flow begins."""
    at, begins = target(store, place), list[float]()

    async def other() -> None:
        begins.append(perf_counter())

    async def work() -> tuple[float, float]:
        backlog, short = flow_of("async", STEPS), named("short").do("a", other).compile()
        async with AsyncEngine(at.driver, commit_on_loop=True) as engine:
            engine.register(backlog, short)
            for first in range(0, runs, BATCH):
                ids = [f"run-{n:06}" for n in range(first, min(first + BATCH, runs))]
                await engine.start_many(backlog, [(run_id, None) for run_id in ids])
            await engine.start_many(short, [(f"run-short-{n}", None) for n in range(OTHERS)])
            gc.collect()
            began = perf_counter()
            await engine.run_until_idle()
            return began, perf_counter() - began

    began, spent = asyncio.run(work())
    steps = at.revisions() - runs - OTHERS
    return {"value": 100 * (begins[0] - began) / spent, "steps": steps, "expected": runs * STEPS + OTHERS}
