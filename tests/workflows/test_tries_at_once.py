"""A step that is tried again without a delay: before each further try the attempt hears of a cancel, of a stop and of the end of the time for undoing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from stepflow import AsyncContext, Context, Engine, RetryPolicy, RunFailed, workflow
from stepflow.drivers.port.store import Driver
from stepflow.testing import VirtualClock

AGAIN = RetryPolicy(max_attempts=5, delay=0)
MADE: list[str] = []
FIRST: list[Callable[[], Any]] = []  # what the first call does


def fails(key: str) -> None:
    MADE.append(key)
    if FIRST:
        FIRST.pop()()
    raise OSError(key)


@workflow("w", cancel_grace=timedelta(seconds=10))
def flow(wf: Context) -> None:
    try:
        wf.execute("a", fails, "a", retry=AGAIN)
    finally:
        wf.execute("undo", fails, "undo", retry=AGAIN)


@workflow("w", cancel_grace=timedelta(seconds=10))
async def aflow(wf: AsyncContext) -> None:
    try:
        await wf.execute("a", fails, "a", retry=AGAIN)
    finally:
        await wf.execute("undo", fails, "undo", retry=AGAIN)


@workflow("w", cancel_grace=timedelta(seconds=10))
async def gathering(wf: AsyncContext) -> None:
    try:
        await wf.gather(wf.execute("a", fails, "a", retry=AGAIN))
    finally:
        await wf.execute("undo", fails, "undo", retry=AGAIN)


@pytest.fixture(autouse=True)
def _nothing_made() -> None:
    MADE.clear()
    FIRST.clear()


STYLES = pytest.mark.parametrize("style", [flow, aflow, gathering], ids=["sync", "async", "gather"])


@STYLES
def test_a_worker_that_stops_tries_no_more(style: Any, store: Driver, clock: VirtualClock) -> None:
    with Engine(store, clock=clock) as engine:
        engine.register(style)
        run = engine.start(style, id="r")
        FIRST.append(engine._engine._session.worker.quit)
        engine.run_until_idle()
        assert (run.status(), MADE) == ("queued", ["a"])
    with Engine(store, clock=clock) as engine:
        engine.register(style)
        engine.run_until_idle()
        with pytest.raises(RunFailed):
            engine.get("r").result()
    assert MADE == ["a"] * 5 + ["undo"] * 5


@STYLES
def test_a_cancel_is_heard_before_the_next_try(style: Any, store: Driver, clock: VirtualClock) -> None:
    with Engine(store, clock=clock) as engine:
        engine.register(style)
        run = engine.start(style)
        FIRST.append(run.cancel)
        engine.run_until_idle()
        assert run.status() == "cancelled"
    assert MADE == ["a"] + ["undo"] * 5


@STYLES
def test_the_time_for_undoing_ends_before_the_next_try(style: Any, store: Driver, clock: VirtualClock) -> None:
    def waits_long() -> None:
        clock.advance(20)

    with Engine(store, clock=clock) as engine:
        engine.register(style)
        run = engine.start(style)

        def cancels() -> None:
            run.cancel()
            FIRST.append(waits_long)

        FIRST.append(cancels)
        engine.run_until_idle()
        assert run.status() == "cancelled"
    assert MADE == ["a", "undo"]
