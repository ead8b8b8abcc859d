"""Stepflow itself: runs of no-op steps drained by one engine, and counted by a fresh connection afterwards."""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from stepflow import AsyncEngine, StepFlow, Steps, named
from stepflow.model.flow import Flow
from tests.bench.target import target

if TYPE_CHECKING:
    from stepflow import OpenTelemetry

STEPS = 10
Figures = dict[str, Any]


async def _async_step() -> None:
    return None


def _sync_step() -> None:
    return None


def _chain(name: str, step: Callable[[], Any], last: Callable[[], Any], steps: int = STEPS) -> StepFlow[Any]:
    chain: Steps[Any] = named(name)
    for n in range(steps - 1):
        chain = chain.do(f"s{n}", step)
    return chain.do(f"s{steps - 1}", last).compile()


def flow_of(style: str, steps: int = STEPS) -> StepFlow[Any]:
    """The measured flow, `bench`, with steps of that style: "async" or "sync"."""
    step: Callable[[], Any] = _async_step if style == "async" else _sync_step
    return _chain("bench", step, step, steps)


async def start_all(
    engine: AsyncEngine, flow: Flow[Any, Any], ids: Iterable[str], width: int = 512, **how: Any
) -> None:
    """Start the runs, `width` clients at a time."""
    todo = iter(ids)

    async def client() -> None:
        for run_id in todo:
            await engine.start(flow, id=run_id, **how)

    await asyncio.gather(*(client() for _ in range(width)))


def _ids(runs: int) -> list[str]:
    return [f"run-{n:06}" for n in range(runs)]


async def _timed(work: Awaitable[Any]) -> float:
    gc.collect()
    began = perf_counter()
    await work
    return perf_counter() - began


def _providers() -> OpenTelemetry:
    """Providers of OpenTelemetry's SDK that record everything and export nothing."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider

    from stepflow import OpenTelemetry

    return OpenTelemetry(TracerProvider(), MeterProvider([InMemoryMetricReader()]))


async def drained(store: Any, runs: int, width: int, flow: StepFlow[Any], told: bool = False) -> float:
    """The seconds in which an engine on this store, or driver, advances so many started runs to their ends; traced if `told`."""
    more: dict[str, Any] = {"instrument": _providers()} if told else {}  # an earlier version does not know it
    async with AsyncEngine(store, commit_on_loop=True, concurrency=width, **more) as engine:
        engine.register(flow)
        await start_all(engine, flow, _ids(runs))
        return await _timed(engine.run_until_idle())


def drain(
    folder: Path, *, store: str, place: str, runs: int, width: int, style: str, steps: int = STEPS, told: bool = False
) -> Figures:
    """Steps per second of draining `runs` started runs of so many steps, `width` at a time; traced and measured if `told`."""
    at = target(store, place)
    spent = asyncio.run(drained(at.driver, runs, width, flow_of(style, steps), told))
    found = at.revisions() - runs
    return {"value": found / spent, "steps": found, "expected": runs * steps}


def starts(folder: Path, *, store: str, place: str, runs: int, width: int) -> Figures:
    """Acknowledged starts per second by `width` clients."""
    at = target(store, place)

    async def work() -> float:
        flow = flow_of("async")
        async with AsyncEngine(at.driver, commit_on_loop=True) as engine:
            return await _timed(start_all(engine, flow, _ids(runs), width))

    spent = asyncio.run(work())
    found = at.runs()
    return {"value": found / spent, "steps": found, "expected": runs}


def latency(folder: Path, *, store: str, place: str, runs: int, width: int, style: str) -> Figures:
    """`width` clients that each start a run, await its result, and start the next: seconds per run, and steps/s."""
    at = target(store, place)
    spans: list[float] = []

    async def client(engine: AsyncEngine, flow: StepFlow[Any], todo: Iterable[str]) -> None:
        for run_id in todo:
            began = perf_counter()
            run = await engine.start(flow, id=run_id)
            await run.result()
            spans.append(perf_counter() - began)

    async def work() -> float:
        flow = flow_of(style)
        async with AsyncEngine(at.driver, commit_on_loop=True, concurrency=width) as engine:
            engine.register(flow)
            async with engine.worker():
                todo = iter(_ids(runs))
                clients = (client(engine, flow, todo) for _ in range(width))
                return await _timed(asyncio.gather(*clients))

    spent = asyncio.run(work())
    steps = at.revisions() - runs
    cuts = statistics.quantiles(spans, n=100, method="inclusive")
    figures = {"p50_ms": cuts[49] * 1000, "p99_ms": cuts[98] * 1000, "steps_per_s": steps / spent}
    return {"value": figures["p50_ms"], **figures, "steps": steps, "expected": runs * STEPS}


def spin(folder: Path, *, store: str, place: str, runs: int, width: int) -> Figures:
    """Steps per second of async runs while one sync step of another run uses all the CPU time it can get."""
    at = target(store, place)
    left = [runs]

    async def last() -> None:
        left[0] -= 1

    def spinning() -> None:
        while left[0]:
            pass

    async def work() -> float:
        flow, spinner = _chain("bench", _async_step, last), named("spin").do("spin", spinning).compile()
        async with AsyncEngine(at.driver, commit_on_loop=True, concurrency=width + 1) as engine:
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
    steps = at.revisions() - runs
    return {"value": steps / spent, "steps": steps, "expected": runs * STEPS}
