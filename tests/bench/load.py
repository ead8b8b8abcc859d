"""Clients of one engine that start a run and await its result: in a closed loop, and in an open loop at a given rate."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

from stepflow import AsyncEngine
from tests.bench import arrivals
from tests.bench.ours import STEPS, flow_of
from tests.bench.short import quantiles_ms
from tests.bench.target import target

Figures = dict[str, Any]


async def _in_a_closed_loop(driver: Any, runs: int, width: int) -> tuple[float, list[float]]:
    """`width` clients that each start a run, await its result, and start the next: all their time, and that of each run."""
    flow, spans = flow_of("async"), list[float]()

    async def client(engine: AsyncEngine, todo: Iterator[int]) -> None:
        for n in todo:
            began = perf_counter()
            await (await engine.start(flow, id=f"run-{n:06}")).result()
            spans.append(perf_counter() - began)

    async with AsyncEngine(driver, concurrency=width) as engine:
        engine.register(flow)
        async with engine.worker():
            todo = iter(range(runs))
            gc.collect()
            began = perf_counter()
            await asyncio.gather(*(client(engine, todo) for _ in range(width)))
            return perf_counter() - began, spans


def clients(folder: Path, *, store: str, place: str, runs: int, width: int) -> Figures:
    """Steps per second of `width` clients."""
    at = target(store, place)
    spent, spans = asyncio.run(_in_a_closed_loop(at.driver, runs, width))
    steps = at.revisions() - runs
    return {"value": steps / spent, **quantiles_ms(spans), "steps": steps, "expected": runs * STEPS}


def most(folder: Path, *, store: str, place: str, runs: int, width: int) -> Figures:
    """Runs per second of so many clients that more would not help."""
    found = clients(folder, store=store, place=place, runs=runs, width=width)
    return {**found, "value": found["value"] / STEPS}


def measure(folder: Path, *, store: str, place: str, runs: int, rate: float, width: int) -> Figures:
    """Milliseconds from the intended start to the result with `rate` runs per second, at most `width` at a time: p50."""
    at, flow, times = target(store, place), flow_of("async"), arrivals.poisson(rate, runs)

    async def work() -> tuple[list[float], float]:
        async with AsyncEngine(at.driver, concurrency=width) as engine:
            engine.register(flow)

            async def serve(n: int) -> None:
                await (await engine.start(flow, id=f"run-{n:06}")).result()

            async with engine.worker():
                await (await engine.start(flow, id="warm")).result()
                gc.collect()
                began = perf_counter()
                spans = await arrivals.offer(times, serve, arrivals.backlog(rate))
                return spans, perf_counter() - began

    spans, spent = asyncio.run(work())
    found = arrivals.figures(rate, runs, spans, spent)
    return {**found, "steps": at.revisions() - at.runs(), "expected": runs * STEPS}
