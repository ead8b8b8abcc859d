"""PgQueuer, a job queue on PostgreSQL: enqueue, the drain of jobs that do nothing, and clients that await their end.

With asyncpg, which its documentation names the faster driver, on uvloop as its command line runs it, all tables durable. Of
the batch sizes 10 to 5,000 and one to five workers in a process, batches of 1,000 and one worker were the fastest here.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.core.completion import CompletionWatcher
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

from tests.bench.library import postgres_number
from tests.bench.short import PAUSE_S, pauses, quantiles_ms, serving, tell_ready

BATCH = 1000
QUEUED = "select count(*) from pgqueuer where status = 'queued'"
ENDED = "select count(*) from pgqueuer_log where status = 'successful'"


async def _connected(place: str, work: Callable[[AsyncpgDriver], Awaitable[float]]) -> float:
    connection = await asyncpg.connect(dsn=place)
    try:
        driver = AsyncpgDriver(connection)
        await Queries(driver).install()
        return await work(driver)
    finally:
        await connection.close()


async def _enqueue(driver: AsyncpgDriver, jobs: int, batch: int) -> float:
    queries = Queries(driver)
    began = perf_counter()
    for first in range(0, jobs, batch):
        many = min(batch, jobs - first)
        payloads = [f"run-{n:06}".encode() for n in range(first, first + many)]
        await queries.enqueue(["bench"] * many, payloads, [0] * many)
    return perf_counter() - began


def _queue(driver: AsyncpgDriver) -> PgQueuer:
    queue = PgQueuer(driver)

    @queue.entrypoint("bench")
    async def nothing(job: Job) -> None:
        return None

    return queue


async def _drain(driver: AsyncpgDriver, jobs: int) -> float:
    await _enqueue(driver, jobs, BATCH)
    queue = _queue(driver)
    began = perf_counter()
    await queue.qm.run(batch_size=BATCH, mode=QueueExecutionMode.drain)
    return perf_counter() - began


def enqueue(folder: Path, *, store: str, place: str, runs: int, batch: int) -> dict[str, Any]:
    """Jobs per second of one client that enqueues `batch` at a time."""
    spent = uvloop.run(_connected(place, lambda driver: _enqueue(driver, runs, batch)))
    found = postgres_number(place, QUEUED)
    return {"value": found / spent, "steps": found, "expected": runs}


def drain(folder: Path, *, store: str, place: str, runs: int) -> dict[str, Any]:
    """Jobs per second of one worker that empties the queue; each is logged as successful."""
    logging.disable(logging.CRITICAL)
    spent = uvloop.run(_connected(place, lambda driver: _drain(driver, runs)))
    found = postgres_number(place, ENDED)
    return {"value": found / spent, "steps": found, "expected": runs}


def single(folder: Path, *, store: str, place: str, runs: int) -> dict[str, Any]:
    """Jobs per second of one client that enqueues one at a time."""
    spent = uvloop.run(_connected(place, lambda driver: _enqueue(driver, runs, 1)))
    found = postgres_number(place, QUEUED)
    return {"value": found / spent, "steps": found, "expected": runs}


@asynccontextmanager
async def _client(place: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """A function that enqueues a job and awaits its end, which it is told about 50 ms later at the latest, as by default."""
    connection = await asyncpg.connect(dsn=place)
    driver = AsyncpgDriver(connection)
    queries = Queries(driver)
    async with CompletionWatcher(driver, queries=queries) as watcher:

        async def one() -> None:
            (job,) = await queries.enqueue("bench", b"run")
            assert await watcher.wait_for(job) == "successful"

        yield one
    await connection.close()


def clients(folder: Path, *, store: str, place: str, runs: int, width: int) -> dict[str, Any]:
    """Jobs per second of `width` tasks of one loop that each enqueue a job, await its end, and enqueue the next."""
    spans: list[float] = []
    logging.disable(logging.CRITICAL)

    async def work(driver: AsyncpgDriver) -> float:
        queue, todo = _queue(driver), iter(range(runs))
        async with _client(place) as one:
            worker = asyncio.create_task(queue.qm.run())
            await one()  # the worker is up

            async def one_after_the_other() -> None:
                for _ in todo:
                    began = perf_counter()
                    await one()
                    spans.append(perf_counter() - began)

            began = perf_counter()
            await asyncio.gather(*(one_after_the_other() for _ in range(width)))
            spent = perf_counter() - began
            queue.qm.shutdown.set()
            await worker
        return spent

    spent = uvloop.run(_connected(place, work))
    found = postgres_number(place, ENDED) - 1
    return {"value": found / spent, **quantiles_ms(spans), "steps": found, "expected": runs}


def across(folder: Path, *, store: str, place: str, runs: int, pause_s: float = PAUSE_S) -> dict[str, Any]:
    """Milliseconds from enqueue to the news of the job's end at idle, with the worker in another process: the median."""

    async def nothing(driver: AsyncpgDriver) -> float:
        return 0.0

    async def work() -> list[float]:
        spans: list[float] = []
        async with _client(place) as one:
            await one()  # the worker is up
            for pause in pauses(runs, pause_s):
                await asyncio.sleep(pause)
                began = perf_counter()
                await one()
                spans.append(perf_counter() - began)
        return spans

    uvloop.run(_connected(place, nothing))
    with serving("peers.pgqueuer:serve", folder, place=place):
        spans = uvloop.run(work())
    found = {**quantiles_ms(spans), "value": statistics.median(spans) * 1000}
    return {**found, "steps": postgres_number(place, ENDED) - 1, "expected": runs}


def serve(folder: Path, *, place: str) -> None:
    """The other process: do whatever comes until it is killed."""
    logging.disable(logging.CRITICAL)

    async def work() -> None:
        connection = await asyncpg.connect(dsn=place)
        tell_ready()
        await _queue(AsyncpgDriver(connection)).qm.run()

    uvloop.run(work())
