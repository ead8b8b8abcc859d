"""LangGraph's functional API with its SQLite checkpointer: entrypoints of ten no-op tasks, each result saved."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.func import entrypoint, task

from tests.bench import disk as disks
from tests.bench.store import count_rows, new_file

STEPS = 10


@task
def sync_step() -> int:
    return 1


@task
async def async_step() -> int:
    return 1


def _sync_graph(saver: Any) -> Any:
    @entrypoint(checkpointer=saver)
    def run(_: str) -> int:
        return sum(sync_step().result() for _ in range(STEPS))

    return run


def _async_graph(saver: Any) -> Any:
    @entrypoint(checkpointer=saver)
    async def run(_: str) -> int:
        return sum([await async_step() for _ in range(STEPS)])

    return run


def _config(n: int) -> Any:
    return {"configurable": {"thread_id": f"run-{n}"}}


def _in_threads(path: Path, runs: int, width: int) -> float:
    """The saver is meant to be shared by threads: it has one connection and a lock."""
    with SqliteSaver.from_conn_string(str(path)) as saver, ThreadPoolExecutor(width) as pool:
        saver.setup()
        graph = _sync_graph(saver)
        began = perf_counter()
        list(pool.map(lambda n: graph.invoke("go", _config(n), durability="sync"), range(runs)))
        return perf_counter() - began


async def _in_tasks(path: Path, runs: int, width: int) -> float:
    """`width` clients share the asynchronous saver."""
    todo = iter(range(runs))
    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        await saver.setup()
        graph = _async_graph(saver)

        async def client() -> None:
            for n in todo:
                await graph.ainvoke("go", _config(n), durability="sync")

        began = perf_counter()
        await asyncio.gather(*(client() for _ in range(width)))
        return perf_counter() - began


def _steps(path: Path) -> int:
    return count_rows(path, "writes", "channel = '__return__' and task_path like '%' and idx >= 0")


def disk(folder: Path, *, store: str, place: str, runs: int) -> dict[str, Any]:
    """Bytes that a finished run takes: the growth from the first run on."""
    path = new_file(Path(place), wal=False)
    with SqliteSaver.from_conn_string(place) as saver:
        saver.setup()
        graph = _sync_graph(saver)
        graph.invoke("go", _config(0), durability="sync")
        before = disks.size(store, place)
        for n in range(1, runs + 1):
            graph.invoke("go", _config(n), durability="sync")
    found = disks.figures(store, place, before, runs)
    return {**found, "steps": _steps(path), "expected": (runs + 1) * STEPS}


def measure(folder: Path, *, runs: int, width: int, style: str) -> dict[str, Any]:
    """Steps per second; every task result counted in `writes` after the connection was closed."""
    path = new_file(folder / "langgraph.sqlite", wal=False)
    spent = asyncio.run(_in_tasks(path, runs, width)) if style == "tasks" else _in_threads(path, runs, width)
    steps = _steps(path)
    return {"value": steps / spent, "steps": steps, "expected": runs * STEPS}
