"""DBOS with its system database in SQLite or PostgreSQL: runs of ten no-op steps, each recorded before the next begins."""

from __future__ import annotations

import asyncio
import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from dbos import DBOS, DBOSClient, DBOSConfig

from tests.bench import arrivals
from tests.bench import disk as disks
from tests.bench.library import postgres_number
from tests.bench.short import PAUSE_S, alone, quantiles_ms, serving, tell_ready
from tests.bench.store import count_rows, new_file

STEPS = 10
WORKFLOW = "ten-steps"


@DBOS.step()
def sync_step() -> None:
    return None


@DBOS.step()
async def async_step() -> None:
    return None


@DBOS.workflow(name=WORKFLOW)
def sync_run() -> None:
    for _ in range(STEPS):
        sync_step()


@DBOS.workflow()
async def async_run() -> None:
    for _ in range(STEPS):
        await async_step()


def _in_sequence(runs: int) -> float:
    began = perf_counter()
    for _ in range(runs):
        sync_run()
    return perf_counter() - began


def _in_threads(runs: int, width: int) -> float:
    """Its own thread pool (64 wide by default) runs `width` workflows at a time."""
    began = perf_counter()
    for first in range(0, runs, width):
        handles = [DBOS.start_workflow(sync_run) for _ in range(min(width, runs - first))]
        for handle in handles:
            handle.get_result()
    return perf_counter() - began


async def _in_tasks(runs: int, width: int) -> float:
    """`width` clients, each of which awaits one workflow after the other."""
    todo = iter(range(runs))

    async def client() -> None:
        for _ in todo:
            await async_run()

    began = perf_counter()
    await asyncio.gather(*(client() for _ in range(width)))
    return perf_counter() - began


@contextmanager
def _launched(url: str) -> Iterator[None]:
    config: DBOSConfig = {"name": "bench", "system_database_url": url, "log_level": "CRITICAL"}
    DBOS(config=config)
    DBOS.launch()
    try:
        yield
    finally:
        DBOS.destroy()


def measure(folder: Path, *, runs: int, width: int, style: str, wal: bool = False) -> dict[str, Any]:
    """Steps per second; every step counted in `operation_outputs` after the library was shut down."""
    path = new_file(folder / "dbos.sqlite", wal=wal)
    with _launched(f"sqlite:///{path}"):
        if style == "tasks":
            spent = asyncio.run(_in_tasks(runs, width))
        else:
            spent = _in_sequence(runs) if width == 1 else _in_threads(runs, width)
    steps = count_rows(path, "operation_outputs")
    return {"value": steps / spent, "steps": steps, "expected": runs * STEPS}


def _url(store: str, place: str) -> str:
    return place if store == "postgres" else f"sqlite:///{new_file(Path(place), wal=False)}"


def _steps(store: str, place: str) -> int:
    if store == "postgres":
        return postgres_number(place, "select count(*) from dbos.operation_outputs")
    return count_rows(Path(place), "operation_outputs")


def serial(folder: Path, *, store: str, place: str, runs: int) -> dict[str, Any]:
    """Steps per second of runs that are called one after the other."""
    with _launched(_url(store, place)):
        spent = _in_sequence(runs)
    steps = _steps(store, place)
    return {"value": steps / spent, "ms_per_run": spent / runs * 1000, "steps": steps, "expected": runs * STEPS}


def most(folder: Path, *, store: str, place: str, runs: int, width: int) -> dict[str, Any]:
    """Runs per second of `width` clients that each await one workflow after the other."""
    with _launched(_url(store, place)):
        spent = asyncio.run(_in_tasks(runs, width))
    return {"value": runs / spent, "steps": _steps(store, place), "expected": runs * STEPS}


def load(folder: Path, *, store: str, place: str, runs: int, rate: float) -> dict[str, Any]:
    """Milliseconds from the intended call to the result with `rate` runs per second: p50."""
    times = arrivals.poisson(rate, runs)

    async def work() -> tuple[list[float], float]:
        await async_run()
        began = perf_counter()
        spans = await arrivals.offer(times, lambda _: async_run(), arrivals.backlog(rate))
        return spans, perf_counter() - began

    with _launched(_url(store, place)):
        spans, spent = asyncio.run(work())
    found = arrivals.figures(rate, runs, spans, spent)
    return {**found, "steps": _steps(store, place) - STEPS, "expected": runs * STEPS}


def disk(folder: Path, *, store: str, place: str, runs: int) -> dict[str, Any]:
    """Bytes that a finished run takes: the growth from the first run on."""
    with _launched(_url(store, place)):
        sync_run()
        before = disks.size(store, place)
        _in_sequence(runs)
    found = disks.figures(store, place, before, runs)
    return {**found, "steps": _steps(store, place), "expected": (runs + 1) * STEPS}


def across(folder: Path, *, store: str, place: str, runs: int, pause_s: float = PAUSE_S) -> dict[str, Any]:
    """Milliseconds from enqueue to result at idle, with the queue's worker in another process: the median."""
    url = _url(store, place)
    with serving("peers.dbos:serve", folder, url=url):
        client = DBOSClient(system_database_url=url)
        spans = alone(
            lambda _: client.enqueue({"queue_name": "bench", "workflow_name": WORKFLOW}).get_result(), runs, pause_s
        )
        client.destroy()
    found = {**quantiles_ms(spans), "value": statistics.median(spans) * 1000}
    return {**found, "steps": _steps(store, place), "expected": runs * STEPS}


def serve(folder: Path, *, url: str) -> None:
    """The other process: do what is in the queue until it is killed."""
    with _launched(url):
        DBOS.register_queue("bench")
        tell_ready()
        threading.Event().wait()
