"""A store with very many rows in its queue, due and asleep, of mixed priority: what is urgent is done at once all the same."""

from __future__ import annotations

import asyncio
import signal
import time
from datetime import UTC, datetime, timedelta
from statistics import median

from stepflow import AsyncEngine
from tests.processes import flows
from tests.processes.flows import Count
from tests.processes.harness import Nursery, seconds

CHUNK = 5000
TURNS, URGENT = 20, 10


def crowd(nursery: Nursery, *, rows: int, workers: int) -> list[float]:
    """How long urgent runs take that are started while workers have more to do than they ever will."""
    begun = time.monotonic_ns()
    asyncio.run(_fill(nursery.url, rows))
    print(f"{rows} rows in {seconds(begun, time.monotonic_ns()):.0f} s")
    staff = [nursery.spawn("forever", "single", concurrency=8) for _ in range(workers)]
    for child in staff:
        nursery.log.wait(what="step", who=child.name, timeout=120)
    before = len(nursery.log.entries("step"))
    begun = time.monotonic_ns()
    times = asyncio.run(_urgent(nursery.url))
    took = seconds(begun, time.monotonic_ns())
    rate = (len(nursery.log.entries("step")) - before) / took
    steps = nursery.log.entries("step")
    for child in staff:
        child.send(signal.SIGTERM)
        assert child.wait() == 0, child.stderr()
    assert len({(e.run, e.step) for e in steps}) == len(steps)  # nothing was done twice
    print(f"{rate:.0f} runs/s meanwhile; urgent ones took {median(times):.3f} s, at most {max(times):.3f} s")
    return times


async def _fill(url: str, rows: int) -> None:
    async with AsyncEngine(url) as engine:
        later = datetime.now(UTC) + timedelta(days=100)
        for number in range(0, rows, CHUNK):
            at = later if number // CHUNK % 2 else None
            chunk = [(f"r{n}", Count()) for n in range(number, min(number + CHUNK, rows))]
            await engine.start_many(flows.single, chunk, priority=number // CHUNK % 7, at=at)


async def _urgent(url: str) -> list[float]:
    times = []
    async with AsyncEngine(url) as engine:
        for turn in range(TURNS):
            begun = time.monotonic()
            some = [(f"urgent-{turn}-{n}", Count()) for n in range(URGENT)]
            runs = await engine.start_many(flows.single, some, priority=-1)
            await asyncio.gather(*(run.result(60) for run in runs))
            times.append(time.monotonic() - begun)
    return times
