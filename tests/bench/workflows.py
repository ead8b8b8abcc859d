"""Workflows: runs of ten durable steps, a replay of a long journal, and many steps of one run side by side."""

from __future__ import annotations

import asyncio
import gc
import statistics
from pathlib import Path
from time import perf_counter
from typing import Any

from attrs import frozen

from stepflow import AsyncContext, AsyncEngine, Context, workflow
from tests.bench.ours import STEPS, start_all
from tests.bench.target import target

Figures = dict[str, Any]


@frozen
class Receipt:
    """A small result of a step."""

    number: int
    paid_by: str


async def _number(n: int) -> int:
    return n


async def _receipt(n: int) -> Receipt:
    return Receipt(n, "ada")


def _sync_number(n: int) -> int:
    return n


@workflow("bench")
async def numbers(wf: AsyncContext) -> int:
    """Ten steps that return an int."""
    total = 0
    for n in range(STEPS):
        total += await wf.execute(f"s{n}", _number, n)
    return total


@workflow("bench")
async def receipts(wf: AsyncContext) -> int:
    """Ten steps that return a small attrs object."""
    total = 0
    for n in range(STEPS):
        total += (await wf.execute(f"s{n}", _receipt, n)).number
    return total


@workflow("bench")
def sync_numbers(wf: Context) -> int:
    """Ten sync steps that return an int."""
    return sum(wf.execute(f"s{n}", _sync_number, n) for n in range(STEPS))


STYLES: dict[str, Any] = {"int": numbers, "attrs": receipts, "sync": sync_numbers}


def drain(folder: Path, *, store: str, place: str, runs: int, width: int, style: str) -> Figures:
    """Steps per second of draining `runs` started workflows of ten steps, `width` at a time."""
    at, flow = target(store, place), STYLES[style]

    async def work() -> float:
        async with AsyncEngine(at.driver, commit_on_loop=True, concurrency=width) as engine:
            engine.register(flow)
            await start_all(engine, flow, (f"run-{n:06}" for n in range(runs)))
            gc.collect()
            began = perf_counter()
            await engine.run_until_idle()
            return perf_counter() - began

    spent = asyncio.run(work())
    found = at.calls()
    return {"value": found / spent, "steps": found, "expected": runs * STEPS}


def resume(folder: Path, *, store: str, place: str, rounds: int, behind: int) -> Figures:
    """Milliseconds from the event that a workflow waits for to its next step, behind `behind` recorded steps: the median."""
    at = target(store, place)
    ended: list[float] = []

    async def last(n: int) -> int:
        ended.append(perf_counter())
        return n

    @workflow("bench")
    async def long(wf: AsyncContext) -> int:
        for n in range(behind):
            await wf.execute(f"s{n}", _number, n)
        await wf.wait_for_event("go", "go", int)
        return await wf.execute("last", last, 1)

    async def work() -> list[float]:
        spans = []
        async with AsyncEngine(at.driver, commit_on_loop=True, concurrency=64) as engine:
            engine.register(long)
            runs = [await engine.start(long, id=f"run-{n:06}") for n in range(rounds)]
            await engine.run_until_idle()
            for run in runs:
                await run.publish("go", 1)
                gc.collect()
                began = perf_counter()
                await engine.run_until_idle()
                spans.append(ended[-1] - began)
        return spans

    spans = asyncio.run(work())
    return {"value": statistics.median(spans) * 1000, "steps": at.calls(), "expected": rounds * (behind + 2)}


def mapped(folder: Path, *, store: str, place: str, runs: int, items: int, width: int) -> Figures:
    """Items per second of `wf.map` over `items` items, `width` at a time, one run after the other."""
    at = target(store, place)

    @workflow("bench")
    async def all_of(wf: AsyncContext) -> int:
        return len(await wf.map("m", _number, range(items), width=width))

    async def work() -> float:
        async with AsyncEngine(at.driver, commit_on_loop=True, concurrency=1) as engine:
            engine.register(all_of)
            await start_all(engine, all_of, (f"run-{n:06}" for n in range(runs)))
            gc.collect()
            began = perf_counter()
            await engine.run_until_idle()
            return perf_counter() - began

    spent = asyncio.run(work())
    found = at.calls()
    return {"value": found / spent, "steps": found, "expected": found if found >= runs * items else runs * items}
