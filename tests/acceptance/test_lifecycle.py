"""I01-I13: the life of a run, replay, and retries of steps."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta

import pytest

from stepflow import AsyncContext, Context, Engine, RetryPolicy, RunFailed, Status, workflow
from stepflow.drivers.port.store import Driver
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.testing import VirtualClock
from tests.acceptance.conftest import Connect
from tests.acceptance.flows import called, count, flaky_flow, multi_step, random_values, simple, sleeps
from tests.processes.stops import OPEN


def test_i01_a_run_is_queued_then_completed_with_its_output(engine: Engine) -> None:
    run = engine.start(simple, "World")
    assert run.status() is Status.QUEUED
    engine.run_until_idle()
    assert (run.status(), run.result(), count("greet")) == (Status.COMPLETED, "Hello, World!", 1)
    assert run.explain().startswith(f"run '{run.id}' of flow 'simple' is completed since ")


def test_i02_and_i09_each_step_is_called_once_and_recorded_with_its_output(engine: Engine) -> None:
    run = engine.start(multi_step, 5)
    engine.run_until_idle()
    assert run.result() == 25
    keys = ["step1_add10", "step2_multiply2", "step3_subtract5"]
    assert [count(key) for key in keys] == [1, 1, 1]
    assert [(row.key, row.kind, row.text) for row in run.recording().rows] == [
        (key, "step", text) for key, text in zip(keys, ["15", "30", "25"], strict=True)
    ]


def test_i03_a_run_sleeps_until_its_time_and_calls_nothing_again(engine: Engine, clock: VirtualClock) -> None:
    run = engine.start(sleeps, [0.1])
    for _ in range(2):
        engine.run_until_idle()
        assert run.status() is Status.SLEEPING
        assert run.info().due == clock.datetime() + timedelta(seconds=0.1)
        assert (count("before_sleep"), count("after_sleep")) == (1, 0)
    clock.advance(0.1)
    engine.run_until_idle()
    assert (run.status(), count("before_sleep"), count("after_sleep")) == (Status.COMPLETED, 1, 1)


def test_no_transaction_is_open_while_a_step_goes_on_or_a_run_sleeps(
    engine: Engine, store: Driver, connect: Connect
) -> None:
    """Weak spot 1: no connection, lock or old snapshot of the database waits for a user's function."""
    seen: list[int] = []

    def look() -> None:
        with connect() as connection:
            if isinstance(store, SqliteDriver):
                connection.execute("begin immediate")  # raises an error after 5 s if the write lock is held
                connection.execute("rollback")
                seen.append(0)
            else:
                seen.append(connection.execute(OPEN).fetchone()[0])

    @workflow("looking")
    def looking(wf: Context) -> None:
        wf.execute("first", look)
        wf.execute("second", look)
        wf.sleep("nap", 3600)

    engine.register(looking)
    engine.start(looking)
    engine.run_until_idle()
    look()
    assert seen == [0, 0, 0]


def test_i04_two_sleeps_take_three_passes(engine: Engine, clock: VirtualClock) -> None:
    run, seen = engine.start(sleeps, [0.05, 0.05]), []
    for _ in range(3):
        engine.run_until_idle()
        seen.append(str(run.status()))
        clock.advance(0.05)
    assert seen == ["sleeping", "sleeping", "completed"]


def test_i05_a_step_that_fails_three_times_is_called_four_times(engine: Engine) -> None:
    run = engine.start(flaky_flow, 3)
    engine.run_until_idle(advance=True)
    assert (run.result(), count("flaky_step")) == ("done", 4)


def test_i06_a_step_that_always_fails_is_called_six_times_and_its_message_is_kept(engine: Engine) -> None:
    run = engine.start(flaky_flow, 99)
    engine.run_until_idle(advance=True)
    error = run.info().error
    assert error is not None
    assert (run.status(), count("flaky_step"), error.message) == (Status.FAILED, 6, "failure 6")


def test_i08_random_values_are_the_same_at_the_replay(engine: Engine) -> None:
    run = engine.start(random_values)
    engine.run_until_idle()
    recorded = {row.key: row.text for row in run.recording().rows}
    engine.run_until_idle(advance=True)
    uuid, number = run.result()
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", uuid)
    assert (recorded["my_uuid"], recorded["my_number"]) == (uuid, str(number))
    assert 0 <= number < 2**64


def test_i10_a_run_of_a_flow_that_no_worker_knows_stays_queued(engine: Engine) -> None:
    @workflow("unknown")
    def unknown(wf: Context) -> None:
        wf.execute("greet", print)

    run = engine.start(unknown)
    idle = engine.run_until_idle()
    assert (idle.completed, idle.failed, run.status()) == (0, 0, Status.QUEUED)


def boom() -> None:
    called("boom")
    raise ZeroDivisionError("panic")


def test_i11_and_i12_what_a_step_or_the_function_raises_fails_the_run_and_not_the_worker(engine: Engine) -> None:
    @workflow("in a step")
    def in_a_step(wf: Context) -> None:
        wf.execute("boom", boom, retry=RetryPolicy(max_attempts=3, delay=0))

    @workflow("in the function")
    def in_the_function(wf: Context) -> None:
        raise ZeroDivisionError("panic, too")

    engine.register(in_a_step, in_the_function)
    runs = [engine.start(in_a_step), engine.start(in_the_function)]
    assert engine.run_until_idle(advance=True).failed == 2
    for run, line in zip(
        runs, ['raise ZeroDivisionError("panic")', 'raise ZeroDivisionError("panic, too")'], strict=True
    ):
        with pytest.raises(RunFailed, match="panic"):
            run.result()
        error = run.info().error
        assert error is not None
        assert line in error.traceback
    assert count("boom") == 3


def test_i13_a_step_that_outlasts_its_time_limit_is_cancelled_and_tried_again(store: Driver) -> None:
    ended: list[str] = []

    async def endless() -> None:
        called("endless")
        await asyncio.Event().wait()
        ended.append("endless")

    @workflow("limited")
    async def limited(wf: AsyncContext) -> None:
        await wf.execute("endless", endless, timeout=0.05, retry=RetryPolicy(max_attempts=2, delay=0))

    with Engine(store) as engine:
        engine.register(limited)
        run = engine.start(limited)
        with engine.worker(), pytest.raises(RunFailed, match="TimedOut"):
            run.result(timeout=60)
    assert (count("endless"), ended) == (2, [])
