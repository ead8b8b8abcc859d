"""Burr with its SQLite persister: applications of ten no-op actions, each state saved before the next action."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

from burr.core import ApplicationBuilder, State, action
from burr.core.persistence import SQLitePersister
from burr.integrations.persisters.b_aiosqlite import AsyncSQLitePersister

from tests.bench.store import count_rows, new_file

STEPS = 10
NAMES = [f"s{n}" for n in range(STEPS)]


@action(reads=[], writes=[])
def sync_step(state: State) -> State:
    return state


@action(reads=[], writes=[])
async def async_step(state: State) -> State:
    return state


def _builder(app_id: str, step: Any, persister: Any) -> Any:
    return (
        ApplicationBuilder()
        .with_actions(**dict.fromkeys(NAMES, step))
        .with_transitions(*pairwise(NAMES))
        .with_identifiers(app_id=app_id)
        .with_state(State())
        .with_entrypoint(NAMES[0])
        .with_state_persister(persister)
    )


def _in_sequence(path: Path, runs: int) -> float:
    persister = SQLitePersister(db_path=str(path))
    began = perf_counter()
    for n in range(runs):
        _builder(f"run-{n}", sync_step, persister).build().run(halt_after=[NAMES[-1]])
    spent = perf_counter() - began
    persister.cleanup()
    return spent


def _in_threads(path: Path, runs: int, width: int) -> float:
    """A connection per thread, as sqlite3 wants it; a thread waits up to a minute for its turn to write."""

    def client(first: int) -> None:
        persister = SQLitePersister(db_path=str(path), connect_kwargs={"timeout": 60, "check_same_thread": False})
        for n in range(first, runs, width):
            _builder(f"run-{n}", sync_step, persister).build().run(halt_after=[NAMES[-1]])
        persister.cleanup()

    with ThreadPoolExecutor(width) as pool:
        began = perf_counter()
        list(pool.map(client, range(width)))
        return perf_counter() - began


async def _in_tasks(path: Path, runs: int, width: int) -> float:
    """`width` tasks share one asynchronous connection."""
    todo = iter(range(runs))
    persister = await AsyncSQLitePersister.from_values(db_path=str(path))

    async def client() -> None:
        for n in todo:
            app = await _builder(f"run-{n}", async_step, persister).abuild()
            await app.arun(halt_after=[NAMES[-1]])

    began = perf_counter()
    await asyncio.gather(*(client() for _ in range(width)))
    spent = perf_counter() - began
    await persister.cleanup()
    return spent


def measure(folder: Path, *, runs: int, width: int, style: str, wal: bool = False) -> dict[str, Any]:
    """Steps per second; every saved state counted after the connection was closed."""
    path = new_file(folder / "burr.sqlite", wal=wal)
    persister = SQLitePersister(db_path=str(path))
    persister.initialize()
    persister.cleanup()
    if style == "tasks":
        spent = asyncio.run(_in_tasks(path, runs, width))
    else:
        spent = _in_sequence(path, runs) if width == 1 else _in_threads(path, runs, width)
    steps = count_rows(path, "burr_state", "status = 'completed'")
    return {"value": steps / spent, "steps": steps, "expected": runs * STEPS}
