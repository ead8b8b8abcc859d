"""Stepflow itself: runs of ten no-op steps drained by one engine, and counted by a fresh connection afterwards."""

from __future__ import annotations

import asyncio
import gc
import shutil
import statistics
import sys
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

from stepflow import AsyncEngine, MemoryDriver, StepFlow, Steps, named
from stepflow.drivers.values import HistoryQuery, Owner
from tests.bench.store import count_rows

STEPS = 10
Figures = dict[str, Any]


async def _async_step() -> None:
    return None


def _sync_step() -> None:
    return None


def _chain(name: str, step: Callable[[], Any], last: Callable[[], Any]) -> StepFlow[Any]:
    chain: Steps[Any] = named(name)
    for n in range(STEPS - 1):
        chain = chain.do(f"s{n}", step)
    return chain.do(f"s{STEPS - 1}", last).compile()


def flow_of(style: str) -> StepFlow[Any]:
    """The measured flow, `bench`, with steps of that style: "async" or "sync"."""
    step: Callable[[], Any] = _async_step if style == "async" else _sync_step
    return _chain("bench", step, step)


async def start_all(engine: AsyncEngine, flow: StepFlow[Any], ids: Iterable[str], width: int = 512, **how: Any) -> None:
    """Start the runs, `width` clients at a time."""
    todo = iter(ids)

    async def client() -> None:
        for run_id in todo:
            await engine.start(flow, id=run_id, **how)

    await asyncio.gather(*(client() for _ in range(width)))


def _ids(runs: int) -> list[str]:
    return [f"run-{n:06}" for n in range(runs)]


def _counted(path: Path, runs: int) -> int:
    """Finished steps found after a reopen: all revisions of the measured runs but their first."""
    return count_rows(path, "stepflow_history", "id glob 'run-*'") - runs


async def _timed(work: Awaitable[Any]) -> float:
    gc.collect()
    began = perf_counter()
    await work
    return perf_counter() - began


async def _drain(store: Any, runs: int, width: int, style: str) -> float:
    flow = flow_of(style)
    async with AsyncEngine(store, concurrency=width) as engine:
        engine.register(flow)
        await start_all(engine, flow, _ids(runs))
        return await _timed(engine.run_until_idle())


def drain(folder: Path, *, runs: int, width: int, style: str, template: str = "") -> Figures:
    """Steps per second of draining `runs` started runs, `width` at a time; `template`: a store to begin with."""
    path = folder / "ours.db"
    if template:
        shutil.copyfile(template, path)
    spent = asyncio.run(_drain(f"sqlite:///{path}", runs, width, style))
    steps = _counted(path, runs)
    return {"value": steps / spent, "steps": steps, "expected": runs * STEPS}


def drain_memory(folder: Path, *, runs: int, width: int, style: str) -> Figures:
    """The same on the memory driver, counted by a second session on it."""
    driver = MemoryDriver()
    spent = asyncio.run(_drain(driver, runs, width, style))
    store = driver.connect("", Owner("reader", "", 0), 0)
    steps = len(store.read(HistoryQuery(limit=runs * (STEPS + 2)))) - runs
    store.close()
    return {"value": steps / spent, "steps": steps, "expected": runs * STEPS}


def sleepers(folder: Path, *, runs: int, target: str) -> Figures:
    """Make the store `target` with `runs` sleeping runs of the measured flow; the value is starts per second."""

    async def fill() -> float:
        flow = flow_of("async")
        async with AsyncEngine(f"sqlite:///{target}") as engine:
            engine.register(flow)
            due = datetime.now(UTC) + timedelta(days=30)
            return await _timed(start_all(engine, flow, (f"sleeper-{n:06}" for n in range(runs)), at=due))

    spent = asyncio.run(fill())
    return {"value": runs / spent, "steps": count_rows(Path(target), "stepflow_queue"), "expected": runs}


def starts(folder: Path, *, runs: int, width: int) -> Figures:
    """Acknowledged starts per second by `width` clients."""
    path = folder / "ours.db"

    async def work() -> float:
        flow = flow_of("async")
        async with AsyncEngine(f"sqlite:///{path}") as engine:
            return await _timed(start_all(engine, flow, _ids(runs), width))

    spent = asyncio.run(work())
    found = count_rows(path, "stepflow_states")
    return {"value": found / spent, "steps": found, "expected": runs}


def latency(folder: Path, *, runs: int, width: int, style: str) -> Figures:
    """`width` clients that each start a run, await its result, and start the next: seconds per run, and steps/s."""
    path = folder / "ours.db"
    spans: list[float] = []

    async def client(engine: AsyncEngine, flow: StepFlow[Any], todo: Iterable[str]) -> None:
        for run_id in todo:
            began = perf_counter()
            run = await engine.start(flow, id=run_id)
            await run.result()
            spans.append(perf_counter() - began)

    async def work() -> float:
        flow = flow_of(style)
        async with AsyncEngine(f"sqlite:///{path}", concurrency=width) as engine:
            engine.register(flow)
            async with engine.worker():
                todo = iter(_ids(runs))
                clients = (client(engine, flow, todo) for _ in range(width))
                return await _timed(asyncio.gather(*clients))

    spent = asyncio.run(work())
    steps = _counted(path, runs)
    cuts = statistics.quantiles(spans, n=100, method="inclusive")
    figures = {"p50_ms": cuts[49] * 1000, "p99_ms": cuts[98] * 1000, "steps_per_s": steps / spent}
    return {"value": figures["p50_ms"], **figures, "steps": steps, "expected": runs * STEPS}


def spin(folder: Path, *, runs: int, width: int) -> Figures:
    """Steps per second of async runs while one sync step of another run uses all the CPU time it can get."""
    path = folder / "ours.db"
    left = [runs]

    async def last() -> None:
        left[0] -= 1

    def spinning() -> None:
        while left[0]:
            pass

    async def work() -> float:
        flow, spinner = _chain("bench", _async_step, last), named("spin").do("spin", spinning).compile()
        async with AsyncEngine(f"sqlite:///{path}", concurrency=width + 1) as engine:
            engine.register(flow, spinner)
            await engine.start(spinner, id="spin", priority=-1)
            await start_all(engine, flow, _ids(runs))
            return await _timed(engine.run_until_idle())

    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)  # what `stepflow worker` sets
    try:
        spent = asyncio.run(work())
    finally:
        sys.setswitchinterval(before)
    steps = _counted(path, runs)
    return {"value": steps / spent, "steps": steps, "expected": runs * STEPS}
