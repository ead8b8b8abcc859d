"""Clients of one engine that start a run and await its result: in a closed loop, and in an open loop at a given rate."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from time import perf_counter
from typing import Any

from stepflow import AsyncEngine
from tests.bench import arrivals, ours
from tests.bench.ours import flow_of
from tests.bench.target import target

Figures = dict[str, Any]


def clients(folder: Path, *, store: str, place: str, runs: int, width: int) -> Figures:
    """Steps per second of `width` clients that each start a run, await its result, and start the next."""
    found = ours.latency(folder, store=store, place=place, runs=runs, width=width, style="async")
    return {**found, "value": found["steps_per_s"]}


def most(folder: Path, *, store: str, place: str, runs: int, width: int) -> Figures:
    """Runs per second of the same: the maximum, when there are so many clients that more do not help."""
    found = ours.latency(folder, store=store, place=place, runs=runs, width=width, style="async")
    return {**found, "value": found["steps_per_s"] / ours.STEPS}


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
    return {**found, "steps": at.revisions() - at.runs(), "expected": runs * ours.STEPS}
