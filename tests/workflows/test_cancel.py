"""Cancel: a workflow sees Cancelled at its next call, also at each replay, and may undo what it did."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta

import pytest

from stepflow import (
    AsyncContext,
    AsyncEngine,
    Cancelled,
    Context,
    Engine,
    MemoryDriver,
    RetryPolicy,
    RunCancelled,
    RunEnded,
    workflow,
)
from stepflow.drivers.memory.session import MemoryStore
from stepflow.drivers.port.commit import CommitResult
from stepflow.drivers.port.step import Member
from stepflow.drivers.port.store import Driver
from stepflow.engine.execution.workflow_attempt import WorkflowAttempt
from stepflow.testing import VirtualClock

DONE: list[str] = []


def do(what: str) -> str:
    DONE.append(what)
    return what


@workflow("w")
def undoing(wf: Context) -> None:
    wf.execute("reserve", do, "reserve")
    try:
        wf.wait_for_event("paid", "paid", str, timeout=timedelta(days=1))
    except Cancelled:
        wf.sleep("later", 10)
        wf.execute("release", do, "release")
        raise


@pytest.fixture
def engine(store: Driver, clock: VirtualClock) -> Iterator[Engine]:
    DONE.clear()
    with Engine(store, clock=clock) as engine:
        engine.register(undoing)
        yield engine


def test_a_run_that_waits_is_woken_and_undoes_what_it_did(engine: Engine) -> None:
    run = engine.start(undoing)
    engine.run_until_idle()
    run.cancel()
    assert run.info().cancel_requested
    engine.run_until_idle()
    assert (run.status(), run.info().cancel_requested) == ("sleeping", True)
    run.cancel()  # again: no other effect
    engine.run_until_idle(advance=True)
    assert run.status() == "cancelled"
    assert DONE == ["reserve", "release"]
    with pytest.raises(RunCancelled):
        run.result()
    run.cancel()


def test_a_run_that_has_done_nothing_ends_at_once(engine: Engine) -> None:
    run = engine.start(undoing)
    run.cancel()
    assert run.status() == "cancelled"
    assert DONE == []


def test_what_the_workflow_returns_or_raises_after_a_cancel_does_not_change_its_end(engine: Engine) -> None:
    @workflow("x")
    def flow(wf: Context, how: str) -> str:
        wf.execute("a", do, "a")
        try:
            wf.sleep("s", 10)
        except Cancelled:
            if how == "raise":
                raise ValueError("odd") from None
        return "went on"

    engine.register(flow)
    runs = [engine.start(flow, how) for how in ("raise", "return")]
    engine.run_until_idle()
    for run in runs:
        run.cancel()
    engine.run_until_idle()
    assert [run.status() for run in runs] == ["cancelled"] * 2
    error = runs[0].info().error
    assert error is not None
    assert error.message == "odd"


def test_except_Exception_does_not_swallow_a_cancel(engine: Engine) -> None:  # noqa: N802
    @workflow("x")
    def flow(wf: Context) -> None:
        wf.execute("a", do, "a")
        try:
            wf.sleep("s", 10)
        except Exception:
            do("swallowed")
        do("went on")

    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle()
    run.cancel()
    engine.run_until_idle()
    assert run.status() == "cancelled"
    assert DONE == ["a"]


def test_undoing_has_an_end(engine: Engine, clock: VirtualClock) -> None:
    @workflow("x", cancel_grace=60)
    def flow(wf: Context) -> None:
        wf.execute("a", do, "a")
        try:
            wf.sleep("s", 10)
        finally:
            wf.execute("undo", broken, retry=RetryPolicy(max_attempts=100, delay=25, factor=1, jitter=0))

    def broken() -> None:
        do("try")
        raise OSError("down")

    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle()
    run.cancel()
    engine.run_until_idle(advance=True)
    assert run.status() == "cancelled"
    assert DONE == ["a", "try", "try", "try"]


def test_a_cancel_stays_where_it_was_raised_when_the_process_dies_in_the_undoing(
    store: Driver, clock: VirtualClock
) -> None:
    DONE.clear()
    with Engine(store, clock=clock) as engine:
        engine.register(undoing)
        run = engine.start(undoing, id="r")
        engine.run_until_idle()
        run.cancel()
        engine.run_until_idle()
        run.publish("paid", "late")  # the wait is over: it was cancelled
        clock.advance(10)
    with Engine(store, clock=clock) as engine:
        engine.register(undoing)
        engine.run_until_idle()
        assert engine.get("r").status() == "cancelled"
    assert DONE == ["reserve", "release"]


@pytest.mark.parametrize("call", ["sleep", "wait", "first_of", "retry"])
def test_what_undoes_does_not_outlast_its_time(call: str, store: Driver, clock: VirtualClock) -> None:
    def fails() -> None:
        raise OSError

    @workflow("w", cancel_grace=60)
    def flow(wf: Context) -> None:
        wf.execute("reserve", do, "reserve")
        try:
            wf.wait_for_event("paid", "paid", str)
        finally:
            if call == "sleep":
                wf.sleep("long", timedelta(days=30))
            elif call == "wait":
                wf.wait_for_event("long", "long", str)
            elif call == "first_of":
                wf.first_of("long", wf.event("long", str), wf.timer(timedelta(days=30)))
            else:
                wf.execute("long", fails, retry=RetryPolicy(max_attempts=2, delay=10_000, max_delay=10_000, jitter=0))

    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        run.cancel()
        engine.run_until_idle()
        assert run.info().cancel_requested
        clock.advance(59)
        engine.run_until_idle()
        assert run.status() in ("sleeping", "waiting")
        clock.advance(2)
        engine.run_until_idle()
        assert run.status() == "cancelled"


@pytest.mark.parametrize("is_async", [False, True])
def test_a_run_that_is_held_is_cancelled_at_its_next_call_and_an_async_step_at_once(
    store: Driver, is_async: bool
) -> None:
    DONE.clear()
    began, go_on = threading.Event(), threading.Event()

    def step() -> None:
        began.set()
        go_on.wait(60)

    async def astep() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            do("step cancelled")

    @workflow("x")
    def flow(wf: Context) -> None:
        try:
            wf.execute("a", step)
            wf.execute("b", do, "b")
        finally:
            wf.execute("undo", do, "undo", retry=RetryPolicy())
            wf.sleep("s", 0.05)
            wf.execute("end", do, "end")

    @workflow("x")
    async def aflow(wf: AsyncContext) -> None:
        try:
            await wf.execute("a", astep)
        finally:
            await wf.execute("undo", do, "undo", retry=RetryPolicy())
            await wf.sleep("s", 0.05)
            await wf.execute("end", do, "end")

    chosen = aflow if is_async else flow
    with Engine(store) as engine:
        engine.register(chosen)
        run = engine.start(chosen)
        with engine.worker():
            assert began.wait(60)
            run.cancel()
            go_on.set()
            with pytest.raises(RunCancelled):
                run.result(timeout=60)
        with pytest.raises(RunCancelled):
            run.result()
    assert (["step cancelled"] if is_async else []) + ["undo", "end"] == DONE


def test_an_ended_run_cannot_be_cancelled(engine: Engine) -> None:
    @workflow("x")
    def flow(wf: Context) -> None: ...

    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle()
    with pytest.raises(RunEnded):
        run.cancel()


@pytest.mark.parametrize("how", ["map", "gather", "both"])
def test_a_cancel_that_comes_while_something_is_recorded_ends_the_async_steps_that_run(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other item, or branch, has ended, and the store takes long to record that."""
    entered, heard, ended, learned = threading.Event(), threading.Event(), list[str](), list[bool]()
    commit, request_cancel = MemoryStore.commit, WorkflowAttempt.request_cancel

    def held(store: MemoryStore, batch: Sequence[Member], now: int) -> list[CommitResult]:
        if any(row.key in ("items[1]", "pause") for one in batch for row in getattr(one, "rows", ())):
            entered.set()
            learned.append(heard.wait(60))
        return commit(store, batch, now)

    def hear(attempt: WorkflowAttempt) -> None:
        request_cancel(attempt)
        heard.set()

    async def step(item: int) -> None:
        if item == 0:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("step")

    @workflow("w")
    async def flow(wf: AsyncContext) -> None:
        items = wf.map("items", step, [0, 1]) if how != "gather" else wf.execute("step", step, 0)
        if how == "map":
            await items
        else:
            await wf.gather(items, wf.sleep("pause", 3600))

    monkeypatch.setattr(MemoryStore, "commit", held)
    monkeypatch.setattr(WorkflowAttempt, "request_cancel", hear)

    async def main() -> None:
        store = MemoryDriver()
        async with AsyncEngine(store) as engine, AsyncEngine(store) as other:
            engine.register(flow)
            run = await engine.start(flow)
            async with engine.worker():
                assert await asyncio.to_thread(entered.wait, 60)
                await other.get(run.id).cancel()
                with pytest.raises(RunCancelled):
                    await run.result(timeout=60)

    asyncio.run(main())
    assert ended == ["step"]
    assert learned
    assert all(learned)
