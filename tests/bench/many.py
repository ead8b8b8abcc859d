"""Starting many runs at once: what a program does that has a list of them."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from time import perf_counter
from typing import Any

from stepflow import AsyncEngine
from tests.bench.ours import flow_of
from tests.bench.target import target


def measure(folder: Path, *, store: str, place: str, runs: int, batch: int) -> dict[str, Any]:
    """Acknowledged starts per second of one client that starts `batch` runs at a time."""
    at, flow = target(store, place), flow_of("async", 1)

    async def work() -> float:
        async with AsyncEngine(at.driver, commit_on_loop=True) as engine:
            gc.collect()
            began = perf_counter()
            for first in range(0, runs, batch):
                ids = [f"run-{n:06}" for n in range(first, min(first + batch, runs))]
                await engine.start_many(flow, [(run_id, None) for run_id in ids])
            return perf_counter() - began

    spent = asyncio.run(work())
    found = at.runs()
    return {"value": found / spent, "steps": found, "expected": runs}
