"""Several worker processes on one store: `python -m tests.bench.several STORE-URL` is one, which begins when it is told to on stdin."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any

from stepflow import AsyncEngine
from tests.bench.ours import STEPS, flow_of
from tests.bench.target import target

BATCH = 1000


async def _work(url: str) -> None:
    async with AsyncEngine(url, commit_on_loop=True) as engine:
        engine.register(flow_of("async"))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await engine.run_until_idle()
    print("done", flush=True)
    sys.stdin.read()  # the end of a process takes the CPU from the others


async def _fill(at: Any, runs: int) -> None:
    async with AsyncEngine(at.driver, commit_on_loop=True) as engine:
        for first in range(0, runs, BATCH):
            ids = [f"run-{n:06}" for n in range(first, min(first + BATCH, runs))]
            await engine.start_many(flow_of("async"), [(run_id, None) for run_id in ids])


def measure(folder: Path, *, store: str, place: str, runs: int, workers: int) -> dict[str, Any]:
    """Steps per second of all workers together, from when they are told to begin until the last one has nothing to do."""
    at, url = target(store, place), place if store == "postgres" else f"{store}:///{place}"
    asyncio.run(_fill(at, runs))
    command = [sys.executable, "-m", "tests.bench.several", url]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _worker in range(workers)
        ]
        pipes = [(process.stdin, process.stdout) for process in processes]
        for _told, said in pipes:
            if said is None or said.readline() != "ready\n":
                raise RuntimeError("a worker did not begin")
        began = perf_counter()
        for told, _said in pipes:
            if told is not None:
                told.write("\n")
                told.flush()
        for _told, said in pipes:
            if said is None or said.readline() != "done\n":
                raise RuntimeError("a worker did not end")
        spent = perf_counter() - began
    found = at.revisions() - runs
    return {"value": found / spent, "steps": found, "expected": runs * STEPS}


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1]))
