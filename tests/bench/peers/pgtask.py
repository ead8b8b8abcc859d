"""pgtask, durable tasks on PostgreSQL with a client in Rust: ten steps that do nothing per task, worker and clients on one loop.

All of its interface is asynchronous, so these are the measurements of `tests.bench.short` again, with the same meaning.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from pgtask import Client, Task, TaskRegistry, Worker

from tests.bench import disk as disks
from tests.bench.library import STEPS, postgres_number
from tests.bench.short import PAUSE_S, Figures, pauses, quantiles_ms, serving, tell_ready

TASKS = TaskRegistry(queue_name="bench")


async def _nothing() -> None:
    return None


@TASKS.task("short")
async def short(task: Task, payload: Any) -> None:
    for n in range(STEPS):
        await task.step(f"s{n}", _nothing)


def _url(place: str) -> str:
    """It wants a host in the URI of a database behind a socket, although the parameter `host` has it."""
    return place.replace("@/", "@localhost/")


@asynccontextmanager
async def _client(place: str) -> AsyncIterator[Client]:
    client = await Client.connect(_url(place))
    await client.migrate()
    yield client


@asynccontextmanager
async def _worker(place: str, registry: TaskRegistry, width: int = 10) -> AsyncIterator[None]:
    worker = Worker(_url(place), registry, concurrency=width)
    running = asyncio.create_task(worker.run())
    yield
    worker.shutdown()
    await running


async def _one(client: Client) -> None:
    handle = await client.enqueue(short.request({}))
    found = await handle.result()
    assert found
    assert found.state == "succeeded", found


def _steps(place: str) -> int:
    return postgres_number(place, "select count(*) from pgtask.checkpoints")


def serial(folder: Path, *, store: str, place: str, runs: int) -> Figures:
    """Steps per second of tasks that are started and awaited one after the other."""

    async def work() -> float:
        async with _client(place) as client, _worker(place, TASKS):
            await _one(client)  # the worker is up
            began = perf_counter()
            for _ in range(runs):
                await _one(client)
            return perf_counter() - began

    spent = asyncio.run(work())
    steps = _steps(place) - STEPS
    return {"value": steps / spent, "ms_per_run": spent / runs * 1000, "steps": steps, "expected": runs * STEPS}


def single(folder: Path, *, store: str, place: str, runs: int) -> Figures:
    """Acknowledged starts per second, one after the other."""

    async def work() -> float:
        async with _client(place) as client:
            gc.collect()
            began = perf_counter()
            for _ in range(runs):
                await client.enqueue(short.request({}))
            return perf_counter() - began

    spent = asyncio.run(work())
    starts = postgres_number(place, "select count(*) from pgtask.tasks")
    return {"value": starts / spent, "steps": starts, "expected": runs}


def reopen(folder: Path, *, store: str, place: str, rounds: int, behind: int) -> Figures:
    """Milliseconds from opening the worker until the first step behind `behind` finished ones is called: the median."""
    registry, parked, spans = TaskRegistry(queue_name="bench"), asyncio.Event(), list[float]()
    arrived: asyncio.Future[float]

    @registry.task("long")
    async def long(task: Task, payload: Any) -> None:
        for n in range(behind):
            await task.step(f"s{n}", _nothing)
        parked.set()
        await task.wait_for_signal("go", "go")
        await task.step("last", last)

    async def last() -> None:
        arrived.set_result(perf_counter())

    async def work() -> None:
        nonlocal arrived
        async with _client(place) as client:
            handles = []
            for _ in range(rounds):
                parked.clear()
                async with _worker(place, registry):
                    handles.append(await client.enqueue(long.request({})))
                    await parked.wait()
            for handle in handles:
                arrived = asyncio.get_running_loop().create_future()
                await handle.signal("go", 1)
                gc.collect()
                began = perf_counter()
                async with _worker(place, registry):
                    spans.append(await arrived - began)
                    await handle.result()

    asyncio.run(work())
    return {"value": statistics.median(spans) * 1000, "steps": _steps(place), "expected": rounds * (behind + 2)}


def clients(folder: Path, *, store: str, place: str, runs: int, width: int) -> Figures:
    """Steps per second of `width` tasks of one loop that each start a run, await its result, and start the next."""
    spans: list[float] = []

    async def work() -> float:
        todo = iter(range(runs))
        async with _client(place) as client, _worker(place, TASKS, width):
            await _one(client)

            async def one_after_the_other() -> None:
                for _ in todo:
                    began = perf_counter()
                    await _one(client)
                    spans.append(perf_counter() - began)

            began = perf_counter()
            await asyncio.gather(*(one_after_the_other() for _ in range(width)))
            return perf_counter() - began

    spent = asyncio.run(work())
    steps = _steps(place) - STEPS
    return {"value": steps / spent, **quantiles_ms(spans), "steps": steps, "expected": runs * STEPS}


def disk(folder: Path, *, store: str, place: str, runs: int) -> Figures:
    """Bytes that a finished run takes: the growth from the first run on."""

    async def work() -> disks.Size:
        async with _client(place) as client, _worker(place, TASKS):
            await _one(client)
            before = disks.size(store, place)
            for _ in range(runs):
                await _one(client)
            return before

    found = disks.figures(store, place, asyncio.run(work()), runs)
    return {**found, "steps": _steps(place), "expected": (runs + 1) * STEPS}


def across(folder: Path, *, store: str, place: str, runs: int, pause_s: float = PAUSE_S) -> Figures:
    """Milliseconds from start to result at idle, with the worker in another process: the median."""

    async def work() -> list[float]:
        async with _client(place) as client:
            with serving("peers.pgtask:serve", folder, place=place):
                return await alone(lambda: _one(client), runs, pause_s)

    spans = asyncio.run(work())
    found = {**quantiles_ms(spans), "value": statistics.median(spans) * 1000}
    return {**found, "steps": _steps(place), "expected": runs * STEPS}


async def alone(run: Callable[[], Awaitable[Any]], runs: int, pause_s: float) -> list[float]:
    """Seconds of each run of a client that pauses before each."""
    spans: list[float] = []
    for pause in pauses(runs, pause_s):
        await asyncio.sleep(pause)
        began = perf_counter()
        await run()
        spans.append(perf_counter() - began)
    return spans


def serve(folder: Path, *, place: str) -> None:
    """The other process: advance whatever comes until it is killed."""

    async def work() -> None:
        async with _worker(place, TASKS):
            tell_ready()
            await asyncio.Event().wait()

    asyncio.run(work())
