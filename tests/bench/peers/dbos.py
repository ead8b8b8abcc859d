"""DBOS with its SQLite system database: runs of ten no-op steps, each recorded before the next begins."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import perf_counter
from typing import Any

from dbos import DBOS, DBOSConfig

from tests.bench.store import count_rows, new_file

STEPS = 10


@DBOS.step()
def sync_step() -> None:
    return None


@DBOS.step()
async def async_step() -> None:
    return None


@DBOS.workflow()
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


def measure(folder: Path, *, runs: int, width: int, style: str, wal: bool = False) -> dict[str, Any]:
    """Steps per second; every step counted in `operation_outputs` after the library was shut down."""
    path = new_file(folder / "dbos.sqlite", wal=wal)
    config: DBOSConfig = {"name": "bench", "system_database_url": f"sqlite:///{path}", "log_level": "CRITICAL"}
    DBOS(config=config)
    DBOS.launch()
    try:
        if style == "tasks":
            spent = asyncio.run(_in_tasks(runs, width))
        else:
            spent = _in_sequence(runs) if width == 1 else _in_threads(runs, width)
    finally:
        DBOS.destroy()
    steps = count_rows(path, "operation_outputs")
    return {"value": steps / spent, "steps": steps, "expected": runs * STEPS}
