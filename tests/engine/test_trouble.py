"""A store that fails while runs are advanced: a clear error, and all runs complete when the cause is removed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stepflow import Engine, Full, named
from tests.engine.flows import Order
from tests.engine.heard import heard

WAIT_S = 60.0
STEPS = ("a", "b", "c", "d")


def grow(text: str) -> Any:
    def step(order: Order) -> None:
        order.log.append(text * 5000)

    return step


def agrow(text: str) -> Any:
    async def step(order: Order) -> None:
        await asyncio.sleep(0)
        order.log.append(text * 5000)

    return step


def growing(style: str) -> Any:
    make = {"sync": grow, "async": agrow}
    chain = named("x", Order)
    for n, name in enumerate(STEPS):
        chain = chain.do(name, (make.get(style) or (grow, agrow)[n % 2])(name))
    return chain.compile()


def limit(engine: Engine, more_pages: int | None) -> None:
    """Limit the growth of the file to this number of pages, or remove the limit."""
    database = engine._engine._session.store._database  # type: ignore[attr-defined]
    with database._writing:
        writer = database._writer
        (count,) = writer.execute("PRAGMA page_count").fetchone()
        writer.execute(f"PRAGMA max_page_count = {1 << 30 if more_pages is None else count + more_pages}")


@pytest.mark.parametrize("pages", [0, 20])
@pytest.mark.parametrize("style", ["sync", "async", "mixed", "virtual"])
def test_a_full_disk_stops_the_work_and_after_making_room_all_of_it_completes(sqlite, clock, style, pages):
    flow = growing(style)
    with Engine(sqlite, clock=clock if style == "virtual" else None) as engine:
        engine.register(flow)
        runs = [engine.start(flow, Order(), id=f"run-{n}") for n in range(6)]
        limit(engine, pages)
        with pytest.raises(Full, match="database or disk is full; free some disk space"):
            engine.run_until_idle()
        limit(engine, None)
        engine.run_until_idle(advance=style == "virtual")
        if style != "virtual":
            finish(engine, runs)
        for run in runs:
            assert run.result() == Order(1, [name * 5000 for name in STEPS])
            assert len(run.history()) == 1 + len(STEPS)
            assert run.info().crashes == 0


def finish(engine: Engine, runs: list[Any]) -> None:
    """Runs whose commit was refused are retried a little later."""
    with engine.worker():
        for run in runs:
            run.result(timeout=WAIT_S)


def test_a_worker_in_the_background_says_so_and_tries_again_by_itself(sqlite):
    flow = growing("mixed")
    with heard("trying again: ") as refused, Engine(sqlite) as engine:
        engine.register(flow)
        runs = [engine.start(flow, Order(), id=f"run-{n}") for n in range(6)]
        limit(engine, 5)
        with engine.worker():
            assert refused.wait(WAIT_S)
            limit(engine, None)
            assert all(run.result(timeout=WAIT_S).log == [name * 5000 for name in STEPS] for run in runs)


def test_a_start_that_finds_no_room_made_no_run(sqlite):
    flow = growing("sync")
    with Engine(sqlite) as engine:
        limit(engine, 0)
        with pytest.raises(Full):
            engine.start(flow, Order(1, ["x" * 100_000]), id="one")
        limit(engine, None)
        assert engine.runs() == []
        engine.start(flow, Order(2), id="one")
