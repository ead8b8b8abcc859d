"""What one result costs beside many tasks that wait for other runs: another session ends runs, one after the other."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from time import perf_counter
from typing import Any

from stepflow import AsyncEngine
from stepflow.drivers.port.commit import Commit, Committed, Created, Write
from stepflow.drivers.port.store import Store
from stepflow.model.state import STATUS, State, Transition
from tests.bench.short import quantiles_ms
from tests.bench.target import target


def _create(session: Store, ids: list[str]) -> dict[str, int]:
    """Runs that wait for nothing, and their revisions."""
    made = [Commit(writes=(Write(State(id_, 0, Transition("bench")), "{}", Created("bench", "", 1)),)) for id_ in ids]
    results = session.commit(made, 1)
    return {id_: done.revs[0] for id_, done in zip(ids, results, strict=True) if isinstance(done, Committed)}


def measure(folder: Path, *, store: str, place: str, runs: int, waiting: int) -> dict[str, Any]:
    """Milliseconds from the commit of a run's end by another session to its result, beside `waiting` tasks: p50.

    `loads` is how often the engine loaded records meanwhile.
    """
    at, spans, loads = target(store, place), list[float](), [0]

    async def work() -> None:
        async with AsyncEngine(at.driver) as engine:
            load = engine._session.store.load

            def counted(ids: Any) -> Any:
                loads[0] += 1
                return load(ids)

            engine._session.store.load = counted  # type: ignore[method-assign]
            await asyncio.to_thread(_create, session, [f"other-{n}" for n in range(waiting)])
            revs = await asyncio.to_thread(_create, session, [f"run-{n}" for n in range(runs)])
            others = [asyncio.create_task(engine.get(f"other-{n}").result()) for n in range(waiting)]
            await asyncio.sleep(1)
            gc.collect()
            loads[0] = 0
            for run_id, rev in revs.items():
                task = asyncio.create_task(engine.get(run_id).result())
                await asyncio.sleep(0.02)
                end = Commit(writes=(Write(State(run_id, rev, Transition("", {STATUS: "completed"}))),))
                began = perf_counter()
                await asyncio.to_thread(session.commit, [end], 2)
                await task
                spans.append(perf_counter() - began)
            for other in others:
                other.cancel()

    with target(store, place).session() as session:
        asyncio.run(work())
    found = quantiles_ms(spans)
    return {"value": found["p50_ms"], **found, "loads": loads[0], "steps": at.runs(), "expected": runs}


def loads(folder: Path, *, store: str, place: str, runs: int, waiting: int) -> dict[str, Any]:
    """How often the engine loads records for one result."""
    found = measure(folder, store=store, place=place, runs=runs, waiting=waiting)
    return {**found, "value": found["loads"] / runs}
