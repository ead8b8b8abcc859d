"""PgQueuer, a job queue on PostgreSQL: batch enqueue, and the drain of jobs that do nothing.

With asyncpg, which its documentation names the faster driver, on uvloop as its command line runs it, all tables durable. Of
the batch sizes 10 to 5,000 and one to five workers in a process, batches of 1,000 and one worker were the fastest here.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import asyncpg
import psycopg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

BATCH = 1000


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


async def _drain(driver: AsyncpgDriver, jobs: int) -> float:
    await _enqueue(driver, jobs, BATCH)
    queue = PgQueuer(driver)

    @queue.entrypoint("bench")
    async def nothing(job: Job) -> None:
        return None

    began = perf_counter()
    await queue.qm.run(batch_size=BATCH, mode=QueueExecutionMode.drain)
    return perf_counter() - began


def _counted(place: str, query: str) -> int:
    with psycopg.connect(place) as connection:
        row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def enqueue(folder: Path, *, store: str, place: str, runs: int, batch: int) -> dict[str, Any]:
    """Jobs per second of one client that enqueues `batch` at a time."""
    spent = uvloop.run(_connected(place, lambda driver: _enqueue(driver, runs, batch)))
    found = _counted(place, "select count(*) from pgqueuer where status = 'queued'")
    return {"value": found / spent, "steps": found, "expected": runs}


def drain(folder: Path, *, store: str, place: str, runs: int) -> dict[str, Any]:
    """Jobs per second of one worker that empties the queue; each is logged as successful."""
    logging.disable(logging.CRITICAL)
    spent = uvloop.run(_connected(place, lambda driver: _drain(driver, runs)))
    found = _counted(place, "select count(*) from pgqueuer_log where status = 'successful'")
    return {"value": found / spent, "steps": found, "expected": runs}
