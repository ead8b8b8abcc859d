"""Watching: one writer, many watchers in the same engine, and every revision delivered to each of them."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from time import perf_counter
from typing import Any

from stepflow import AsyncEngine, Watch
from stepflow.drivers.port.store import Driver
from tests.bench.ours import flow_of
from tests.bench.target import Target, target

WAVE = 64  # runs that the writer starts side by side


def measure(folder: Path, *, store: str, place: str, runs: int, watchers: int) -> dict[str, Any]:
    """Deliveries per second, from the first write until the last watcher has seen the last revision.

    What counts as delivered is what every watcher saw in ascending order, each revision once, and the store has.
    """
    at = target(store, place)
    return deliver(at, at.driver, runs, watchers)


def deliver(at: Target, driver: Driver, runs: int, watchers: int) -> dict[str, Any]:
    """The same with this driver, for a store that `at` counts."""

    async def follow(watch: Watch) -> list[int]:
        seen: list[int] = []
        async for state in watch:
            seen.append(state.rev)
            if len(seen) == runs:
                break
        return seen

    async def write(engine: AsyncEngine) -> None:
        flow = flow_of("async")
        for first in range(0, runs, WAVE):
            wave = range(first, min(first + WAVE, runs))
            await asyncio.gather(*(engine.start(flow, id=f"run-{n:06}") for n in wave))

    async def work() -> tuple[float, list[list[int]]]:
        async with AsyncEngine(driver, commit_on_loop=True) as engine:
            tasks = [asyncio.create_task(follow(engine.watch())) for _ in range(watchers)]
            await asyncio.sleep(0)
            gc.collect()
            began = perf_counter()
            await write(engine)
            seen = await asyncio.gather(*tasks)
            return perf_counter() - began, seen

    spent, seen = asyncio.run(work())
    kept = at.revisions()
    delivered = sum(len(revs) for revs in seen if revs == sorted(set(revs)) and len(revs) == kept)
    return {"value": delivered / spent, "steps": delivered, "expected": runs * watchers}
