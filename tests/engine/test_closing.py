"""An engine is closed while it is used: by another thread, inside a step, at exit, beside a step that does not end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import Any

import pytest

from stepflow import AsyncEngine, Engine, Status, StepflowError, flow, named, park
from stepflow.engine.lifetime import CLOSED
from stepflow.engine.threads import futures
from stepflow.engine.threads.loop_thread import LoopThread
from tests.engine.flows import Order, chain
from tests.engine.test_caller import WAIT_S, in_thread

REAL = pytest.mark.parametrize("real", [True, False], ids=["real", "virtual"])
NEVER_S = 3600.0


def failure_of(call: Any) -> str:
    """The text of the StepflowError that the call raises."""
    with pytest.raises(StepflowError) as refused:
        call()
    return str(refused.value)


def test_a_call_that_waits_is_told_that_the_engine_was_closed(store):
    engine = Engine(store).open()
    run = engine.start(chain("x", "a"), Order())
    with in_thread(lambda: failure_of(run.result)) as result:
        while not (engine._loop_thread._awaited or engine._loop_thread._caller):
            threading.Event().wait(0.001)
        engine.close()
    assert "closed" in result[0]
    assert {failure_of(call) for call in (run.status, engine.runs, engine.health)} == {
        "the engine is closed: open a new one"
    }


def test_a_pipe_that_close_has_closed_is_not_taken_for_one_that_others_closed():
    engine = Engine("memory://").open()
    loop_thread = engine._loop_thread
    engine.close()
    loop_thread.end("other code closed the descriptors")  # as a call does that wakes the loop while it is being closed
    assert loop_thread.why == CLOSED


@REAL
@pytest.mark.parametrize("is_async", [False, True])
def test_close_inside_a_step_is_refused_at_once(store, clock, real, is_async):
    told: list[str] = []

    def step() -> None:
        told.append(failure_of(engine.close))

    async def astep() -> None:
        step()

    closes = named("x").do("a", astep if is_async else step).compile()
    with Engine(store, clock=None if real else clock) as engine:
        engine.register(closes)
        run = engine.start(closes)
        engine.run_until_idle()
        assert run.status() is Status.COMPLETED
    assert "close() was called inside a step of this engine" in told[0]


@REAL
def test_an_async_engine_and_flow_functions_refuse_it_too(store, clock, real):
    told: list[str] = []

    async def close() -> None:
        with pytest.raises(StepflowError, match="inside a step of this engine") as refused:
            await engine.close()
        told.append(str(refused.value))

    @flow("closes")
    async def closes(ctx: Any) -> Any:
        await close()
        return park(ctx)

    engine = AsyncEngine(store, clock=None if real else clock)

    async def program() -> None:
        async with engine:
            step = named("x").do("a", close).compile()
            engine.register(step, closes)
            runs = [await engine.start(step), await engine.start(closes, id="one")]
            await engine.run_until_idle()
            assert [await run.status() for run in runs] == [Status.COMPLETED, Status.PARKED]

    asyncio.run(program())
    assert len(told) == 2


def test_a_step_may_close_another_engine(store):
    def step() -> None:
        Engine(store).open().close()

    opens = named("x").do("a", step).compile()
    with Engine(store) as engine:
        engine.register(opens)
        run = engine.start(opens)
        engine.run_until_idle()
        assert run.status() is Status.COMPLETED


EXIT = """
import sys
from stepflow import Engine, named

flow = named("x", dict).do("a", lambda d: None).compile()
engine = Engine(sys.argv[1]).open()
engine.register(flow)
worker = engine.worker()
worker.__enter__()
print(engine.start(flow, {}, id="one").result(timeout=60))
"""


def test_a_worker_that_is_left_open_is_ended_at_exit(sqlite):
    program = [sys.executable, "-c", EXIT, sqlite.url]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "{}\n", "")


def test_closing_ends_a_worker_that_is_left_open(store):
    engine = Engine(store).open()
    worker = engine.worker()
    worker.__enter__()
    lifetime = engine._engine._session.lifetime
    assert lifetime.at_work
    engine.close()
    assert not lifetime.at_work


def test_a_step_that_goes_on_after_its_time_limit_is_waited_for_once(store, monkeypatch):
    monkeypatch.setattr(futures, "CANCEL_TIMEOUT_S", 0.01)
    over = False

    async def never_ending() -> None:
        while not over:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    flow = named("x").do("a", never_ending, timeout=0.01).compile()
    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        assert run.info().error.type == "TimedOut"
        assert engine.health().lost_threads == 1
        monkeypatch.setattr(futures, "CANCEL_TIMEOUT_S", NEVER_S)
        loop = engine._loop_thread._loop
        engine.close()
        left = [task for task in futures._left_behind if task.get_loop() is loop]
        assert len(left) == 1
        left[0]._log_destroy_pending = False
    over = True


async def nothing() -> None:
    return None


def test_a_call_that_was_given_to_the_loop_just_before_it_is_closed_is_answered():
    loop_thread = LoopThread()
    loop_thread._caller, loop_thread._hand_over = 1, lambda: None  # type: ignore[method-assign]  # the loop stands still
    with in_thread(lambda: failure_of(lambda: loop_thread.call(nothing()))) as result:
        while not loop_thread._awaited:
            threading.Event().wait(0.001)
        loop_thread._caller = 0
        loop_thread.close()
    assert "closed" in result[0]


def test_a_call_that_waits_for_the_loop_is_refused_when_that_is_closed():
    loop_thread = LoopThread()
    loop_thread._runs = True  # the thread is about to leave the loop
    with in_thread(lambda: failure_of(lambda: loop_thread.call(nothing()))) as result:
        while not loop_thread._changed._waiters:  # type: ignore[attr-defined]
            threading.Event().wait(0.001)
        loop_thread._runs = False
        loop_thread.close()
    assert "closed" in result[0]


def test_a_call_whose_task_goes_on_is_answered_all_the_same(monkeypatch):
    monkeypatch.setattr(futures, "CANCEL_TIMEOUT_S", 0.01)
    begun = threading.Event()
    tasks: list[Any] = []

    async def never_ending() -> None:
        tasks.append(asyncio.current_task())
        begun.set()
        while True:
            try:
                await asyncio.sleep(NEVER_S)
            except asyncio.CancelledError:
                continue

    loop_thread = LoopThread()
    with in_thread(lambda: failure_of(lambda: loop_thread.call(never_ending()))) as result:
        assert begun.wait(WAIT_S)
        loop_thread.close()
    assert "closed" in result[0]
    tasks[0]._log_destroy_pending = False
