"""A worker process that is going to be killed: `python -m tests.bench.crash_worker STORE-URL NUMBER`, told on stdin what to start.

It writes lines: "ready", "held RUN", "step RUN NANOSECONDS" (monotonic, the same clock in all processes), "end RUN".
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

from stepflow import AsyncEngine, current, named


def _say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def work(url: str, number: int) -> None:
    """Advance runs until the process is killed; the run `run-NUMBER` is held in its first step for ever."""

    async def first() -> None:
        run, at = current().run_id, time.monotonic_ns()
        if run == f"run-{number}":
            _say("held", run)
            await asyncio.Event().wait()
        _say("step", run, at)

    async def greet() -> None:
        _say("end", current().run_id)

    held: Any = named("held").do("first", first).compile()
    greeting = named(f"greeting-{number}").do("only", greet).compile()
    async with AsyncEngine(url) as engine:
        engine.register(held, greeting)
        async with engine.worker():
            _say("ready")
            while line := await asyncio.to_thread(sys.stdin.readline):
                run = line.strip()
                await engine.start(held if run.startswith("run-") else greeting, id=run)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], int(sys.argv[2])))
