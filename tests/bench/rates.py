"""What a rate costs that holds nothing back: every claim counts what began in its window."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from time import perf_counter
from typing import Any

from stepflow import AsyncEngine, Limit
from tests.bench.ours import flow_of
from tests.bench.target import target

MINUTE_S = 60


def drain(folder: Path, *, store: str, place: str, runs: int, rate: int | None) -> dict[str, Any]:
    """Runs of one step per second, 64 at a time; with a `rate` so many may begin in a minute."""
    at, flow = target(store, place), flow_of("async", 1)
    limits = Limit("all", rate=rate, per=MINUTE_S) if rate else ()

    async def work() -> float:
        async with AsyncEngine(at.driver, commit_on_loop=True, concurrency=64) as engine:
            engine.register(flow)
            await engine.start_many(flow, [(f"run-{n:06}", None) for n in range(runs)], limits=limits)
            gc.collect()
            began = perf_counter()
            await engine.run_until_idle()
            return perf_counter() - began

    spent = asyncio.run(work())
    found = at.revisions() - runs
    return {"value": found / spent, "steps": found, "expected": runs}
