"""A verb by filter on many runs, in a process of its own, beside a worker: how long that worker makes no step."""

from __future__ import annotations

import asyncio
import sys
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

from stepflow import AsyncEngine, named
from tests.bench.footprint import keeping_compiled
from tests.bench.ours import STEPS
from tests.bench.target import Target, target

WAVE, CLIENTS = 1000, 8
VERB = """
import sys
from stepflow import Engine, RunFilter
with Engine(sys.argv[1]) as engine:
    print("ready", flush=True)
    sys.stdin.readline()
    print(engine.cancel(RunFilter(flow="idle"), dry_run=False).count, flush=True)
"""


def measure(folder: Path, *, store: str, place: str, runs: int) -> dict[str, Any]:
    """Milliseconds of the longest pause between two steps of a worker while another process cancels `runs` waiting runs."""
    at = target(store, place)
    url = place if store == "postgres" else f"{store}:///{place}"
    moments, begun, ended = asyncio.run(_beside(at, url, folder, runs))
    inside = [begun, *(moment for moment in moments if begun < moment < ended), ended]
    with at.session() as session:
        alive = [record for record in session.load([_id(n) for n in range(runs)]) if record and record.row]
    return {
        "value": max(after - before for before, after in pairwise(inside)) * 1000,
        "steps_per_s": len(inside) / (ended - begun),
        "steps": runs - len(alive),
        "expected": runs,
    }


async def _beside(at: Target, url: str, folder: Path, runs: int) -> tuple[list[float], float, float]:
    moments: list[float] = []
    stop = asyncio.Event()

    async def step() -> None:
        moments.append(perf_counter())

    async def client(engine: AsyncEngine, number: int) -> None:
        n = 0
        while not stop.is_set():
            await (await engine.start(busy, id=f"run-{number}-{n:06}")).result()
            n += 1

    chain: Any = named("busy")
    for n in range(STEPS):
        chain = chain.do(f"s{n}", step)
    busy = chain.compile()
    idle = named("idle").wait_event("go", "go", int, lambda payload: None).compile()
    async with AsyncEngine(at.driver, commit_on_loop=True) as engine:
        engine.register(busy, idle)
        for first in range(0, runs, WAVE):
            await engine.start_many(idle, [(_id(n), None) for n in range(first, min(first + WAVE, runs))])
        await engine.run_until_idle()
        async with engine.worker():
            clients = [asyncio.create_task(client(engine, number)) for number in range(CLIENTS)]
            verb = await asyncio.create_subprocess_exec(
                sys.executable, "-c", VERB, url, env=keeping_compiled(folder),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            assert verb.stdin
            assert verb.stdout
            await verb.stdout.readline()  # it is ready
            begun = perf_counter()
            verb.stdin.write(b"\n")
            count = await verb.stdout.readline()
            ended = perf_counter()
            stop.set()
            await asyncio.gather(*clients)
            await verb.communicate()
    assert int(count) == runs, count
    return moments, begun, ended


def _id(number: int) -> str:
    return f"idle-{number:06}"
