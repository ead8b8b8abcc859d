"""`do(timeout=)`: an attempt that has not ended in time fails with TimedOut, whatever its function does, and the worker goes on."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from stepflow import (
    AsyncContext,
    AsyncEngine,
    Context,
    Engine,
    RetryPolicy,
    RunCancelled,
    Status,
    StepflowError,
    Steps,
    TimedOut,
    named,
    workflow,
)
from tests.engine.flows import Order, chain

WAIT_S = 60.0
AT_ONCE = RetryPolicy(max_attempts=50, delay=0, on=TimedOut)  # a busy machine may be late more than once


def until(holds: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    turn = threading.Event()
    for _ in range(6000):
        if holds():
            return
        turn.wait(0.01)
    raise AssertionError("it did not happen")


def test_a_sync_step_is_left_behind_and_its_result_is_refused(store):
    release, first = threading.Event(), iter([True])  # which call is the first is decided once, however threads overlap

    def step(order: Order) -> None:
        if next(first, False):
            order.log.append("late")
            assert release.wait(WAIT_S)
            order.log.append("later")
            return
        order.log.append("in time")

    group = Steps(Order).do("a", step, timeout=0.05)
    flow = named("x", Order).retry("r", AT_ONCE, group).do("b", lambda order: order.log.append("b")).compile()
    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow, Order(), id="one")
        engine.run_until_idle()
        assert run.result(timeout=WAIT_S).log == ["in time", "b"]
        until(lambda: engine.health().lost_threads == 1)
        release.set()
        until(lambda: engine.health().lost_threads == 0)
        assert run.exchange().log == ["in time", "b"]
        assert {entry.error.type for entry in run.history() if entry.error} == {"TimedOut"}


@pytest.mark.parametrize("style", ["chain", "workflow", "async workflow"])
@pytest.mark.parametrize("ends", ["timeout", "hung"])
def test_a_call_that_was_given_up_and_fails_later_is_logged(store, style, ends, caplog):
    release, first = threading.Event(), iter([True])

    def step(*_given: Any) -> None:
        if next(first, False):
            assert release.wait(WAIT_S)
            raise ValueError("too late")

    limit: dict[str, Any] = {"timeout": 0.05} if ends == "timeout" else {}
    hung: dict[str, Any] = {"hung_after": 0.05} if ends == "hung" else {}

    @workflow("x", retry=AT_ONCE, **hung)
    def work(wf: Context, _order: Order) -> None:
        wf.execute("slow", step, **limit)

    @workflow("x", retry=AT_ONCE, **hung)
    async def awork(wf: AsyncContext, _order: Order) -> None:
        await wf.execute("slow", step, **limit)

    flows = {"workflow": work, "async workflow": awork}
    flow: Any = flows.get(style) or named("x", Order).do("slow", step, **limit).compile(retry=AT_ONCE, **hung)

    def logged() -> list[logging.LogRecord]:
        return [one for one in caplog.records if getattr(one, "event", "") == "late"]

    with caplog.at_level(logging.INFO), Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow, Order(), id="one")
        engine.run_until_idle()
        run.result(timeout=WAIT_S)
        assert logged() == []
        release.set()
        until(lambda: (engine.run_until_idle(), bool(logged()))[1])  # its loop turns only while it is asked
    (record,) = logged()
    assert (record.run_id, record.step, "ValueError: too late" in record.getMessage()) == ("one", "slow", True)  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", ["none", "run", "handler"])
@pytest.mark.parametrize("swallows", [False, True])
def test_an_async_step_is_cancelled(store, how, swallows):
    told: list[str] = []
    policy = RetryPolicy(max_attempts=2, delay=0)

    async def step(order: Order) -> None:
        order.log.append("half")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append("cancelled")
            if not swallows:
                raise

    group = Steps(Order).do("a", step, timeout=timedelta(milliseconds=20))
    base: Any = named("x", Order)
    base = base.retry("r", lambda _e: len(told) < 2, group) if how == "handler" else base.steps("s", group)
    flow, innocent = base.compile(retry=policy if how == "run" else None), chain("innocent", "a")
    with Engine(store) as engine:
        engine.register(flow, innocent)
        run = engine.start(flow, Order(), id="one")
        engine.run_until_idle()
        info = run.info()
        assert (info.status, info.error.type, info.owner) == (Status.FAILED, "TimedOut", "")
        assert "did not end within 0.02 s" in info.error.message
        assert told == ["cancelled"] * (1 if how == "none" else 2)
        assert run.exchange().log == []
        assert engine.health().lost_threads == 0
        other = engine.start(innocent, Order())
        engine.run_until_idle()
        assert other.result(timeout=WAIT_S).log == ["a"]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("error", [None, ValueError, StopIteration, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_a_step_that_ends_in_time_ends_as_without_a_limit(store, clock, is_async, real, error):
    def step(order: Order) -> None:
        order.log.append("done")
        if error is not None:
            raise error

    async def astep(order: Order) -> None:
        await asyncio.sleep(0)
        step(order)

    flow = named("x", Order).do("a", astep if is_async else step, timeout=WAIT_S).compile()
    with Engine(store, clock=None if real else clock) as engine:
        engine.register(flow)
        run = engine.start(flow, Order(), id="one")
        engine.run_until_idle()
        if error is None:
            assert run.result(timeout=WAIT_S).log == ["done"]
        else:
            assert run.info().error.type == error.__name__
        assert engine.health().ok


@pytest.mark.parametrize("is_async", [False, True])
def test_virtual_time_limits_too(engine, clock, is_async):
    def slow() -> None:
        clock.advance(31)

    async def aslow() -> None:
        clock.advance(31)
        await asyncio.Event().wait()

    flow = named("x").do("a", aslow if is_async else slow, timeout=30).compile()
    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle()
    assert run.info().error.type == "TimedOut"


def test_a_worker_without_a_thread_left_claims_no_more_and_says_so(store):
    release = threading.Event()
    slow = named("slow").do("a", lambda: release.wait(WAIT_S), timeout=0.02).compile()
    quick = chain("quick", "a")
    with Engine(store, concurrency=2) as engine:
        engine.register(slow, quick)
        runs = [engine.start(slow) for _ in range(2)]
        engine.run_until_idle()
        assert [run.status() for run in runs] == [Status.FAILED] * 2
        run = engine.start(quick, Order())
        with pytest.raises(StepflowError, match="claims no more runs"):
            engine.run_until_idle()
        assert (run.status(), engine.health().lost_threads) == (Status.QUEUED, 2)
        release.set()
        until(lambda: engine.health().lost_threads == 0)
        engine.run_until_idle()
        assert run.result(timeout=WAIT_S).log == ["a"]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_limited_step_can_be_cancelled(store, is_async):
    release = threading.Event()

    async def program() -> None:
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()

        async def aforever() -> None:
            begun.set()
            await asyncio.Event().wait()

        def forever() -> None:
            loop.call_soon_threadsafe(begun.set)
            assert release.wait(WAIT_S)

        flow = named("x").do("a", aforever if is_async else forever, timeout=WAIT_S).compile()
        async with AsyncEngine(store) as engine, engine.worker():
            engine.register(flow)
            run = await engine.start(flow, id="one")
            await asyncio.wait_for(begun.wait(), WAIT_S)
            await run.cancel()
            release.set()
            with pytest.raises(RunCancelled):
                await run.result(timeout=WAIT_S)

    asyncio.run(program())


def test_apply_never_times_out_and_check_tells_so():
    flow = named("x").do("a", lambda: None, timeout=30).compile()
    assert flow.apply([]) == ["completed:x/a"]
    assert [(finding.kind, finding.path) for finding in flow.check()] == [("engine-only", "x/a")]
    assert "at most 30 s" in flow.diagram("text")
    with pytest.raises(StepflowError, match="timeout=-1"):
        named("x").do("a", lambda: None, timeout=-1).compile()
