"""Failures: retries of steps and runs, what is raised at a replay, and what the run says of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from stepflow import (
    AsyncContext,
    Context,
    Engine,
    RetryPolicy,
    RunFailed,
    StepFailed,
    Terminal,
    TimedOut,
    current,
    workflow,
)
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.store import Driver
from stepflow.testing import VirtualClock


class Declined(Exception):
    """An exception with contents of its own."""

    def __init__(self, code: int) -> None:
        super().__init__(f"declined, code {code}")
        self.code = code


class Flaky:
    """A step that raises in its first calls."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.left, self.error, self.seen = failures, error, list[int]()

    def __call__(self) -> str:
        self.seen.append(current().attempt)
        if self.left:
            self.left -= 1
            raise self.error
        return "done"


@pytest.fixture
def engine(store: Driver, clock: VirtualClock) -> Iterator[Engine]:
    with Engine(store, clock=clock) as engine:
        yield engine


def test_a_step_is_retried_while_the_run_sleeps_and_its_attempts_survive_restarts(
    store: Driver, clock: VirtualClock
) -> None:
    step = Flaky(3, Declined(7))

    @workflow("w")
    def flow(wf: Context) -> str:
        return wf.execute("pay", step, retry=RetryPolicy(max_attempts=4, delay=10, factor=2, jitter=0))

    for n, delay in enumerate([10, 20, 40, 0]):
        with Engine(store, clock=clock) as engine:
            engine.register(flow)
            run = engine.start(flow, id="r")
            idle = engine.run_until_idle()
            info = run.info()
            if delay:
                assert idle.next_due == clock.datetime() + timedelta(seconds=delay)
                assert (info.status, info.position, info.attempt) == ("sleeping", ["step:pay"], n + 2)
                assert info.error is not None
                assert (info.error.type, info.error.message) == ("Declined", "declined, code 7")
                assert "Declined: declined, code 7" in run.explain()
            clock.advance(delay)
    assert step.seen == [1, 2, 3, 4]
    with Engine(store, clock=clock) as engine:
        assert engine.get("r").result() == "done"


def test_the_last_failure_of_a_step_is_raised_the_same_at_each_replay(engine: Engine, clock: VirtualClock) -> None:
    seen: list[Any] = []
    step = Flaky(9, Declined(7))

    @workflow("w")
    def flow(wf: Context) -> str:
        try:
            wf.execute("pay", step, retry=RetryPolicy(max_attempts=2, delay=0))
        except Declined as error:
            seen.append((error.code, str(error), "in __call__" in str(error.__cause__)))
        wf.sleep("s", 1)
        return "over"

    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle(advance=True)
    assert run.result() == "over"
    assert seen == [(7, "declined, code 7", True)] * 2
    assert step.seen == [1, 2]


def test_an_exception_that_cannot_be_made_again_is_StepFailed_from_the_first_time_on(engine: Engine) -> None:  # noqa: N802
    class Local(Exception):
        pass

    seen: list[Any] = []

    def step() -> None:
        raise Local("here")

    @workflow("w")
    def flow(wf: Context) -> None:
        try:
            wf.execute("a", step)
        except StepFailed as error:
            seen.append((error.key, error.type.split(".")[-1], error.message))
        wf.sleep("s", 1)
        wf.execute("b", step)

    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle(advance=True)
    assert seen == [("a", "Local", "here")] * 2
    with pytest.raises(RunFailed) as found:
        run.result()
    assert found.value.type.endswith("Local")
    assert found.value.message == "here"
    assert "in step" in found.value.traceback


def test_the_traceback_of_a_step_stays_with_the_run(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    step = Flaky(1, Declined(7))

    @workflow("w")
    def flow(wf: Context) -> None:
        wf.execute("pay", step)

    engine.register(flow)
    run = engine.start(flow)
    with caplog.at_level(logging.ERROR):
        engine.run_until_idle()
    with pytest.raises(RunFailed, match="Declined: declined, code 7") as found:
        run.result()
    assert "in __call__" in found.value.traceback
    assert "in flow" in found.value.traceback
    assert [r.event for r in caplog.records] == ["failed"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("where", ["step", "workflow"])
def test_terminal_stops_every_level_of_retries(engine: Engine, where: str) -> None:
    calls: list[str] = []
    policy = RetryPolicy(max_attempts=5, delay=1)

    def step() -> None:
        calls.append("step")
        if where == "step":
            raise Terminal("card stolen")

    @workflow("w", retry=policy)
    def flow(wf: Context) -> None:
        wf.execute("pay", step, retry=policy)
        raise Terminal(ValueError("card stolen"))

    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle(advance=True)
    with pytest.raises(RunFailed, match="Terminal: card stolen"):
        run.result()
    assert calls == ["step"]


def test_a_run_is_retried_at_the_step_that_failed_and_caught_failures_stay(engine: Engine) -> None:
    caught, step = Flaky(1, Declined(1)), Flaky(2, Declined(2))
    ways: list[str] = []

    @workflow("w", retry=RetryPolicy(max_attempts=3, delay=5, jitter=0))
    def flow(wf: Context) -> str:
        try:
            wf.execute("first", caught)
        except Declined:
            ways.append("caught")
        return wf.execute("second", step)

    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle()
    assert (run.status(), run.info().attempt) == ("sleeping", 2)
    engine.run_until_idle(advance=True)
    assert run.result() == "done"
    assert ways == ["caught"] * 3
    assert len(caught.seen) == 1
    assert len(step.seen) == 3


def test_a_redrive_goes_on_at_the_step_that_failed(store: Driver, engine: Engine) -> None:
    step, first = Flaky(2, Declined(2)), Flaky(0, Declined(1))

    @workflow("w")
    def flow(wf: Context) -> str:
        wf.execute("first", first)
        return wf.execute("second", step, retry=RetryPolicy(max_attempts=2, delay=0))

    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle()
    assert run.status() == "failed"
    run.redrive()
    engine.run_until_idle()
    assert run.result() == "done"
    assert (first.seen, step.seen) == ([1], [1, 2, 1])


def test_a_redrive_repeats_what_the_workflow_itself_raised(engine: Engine) -> None:
    switch = {"on": False}

    @workflow("w")
    def flow(wf: Context) -> str:
        wf.execute("first", Flaky(0, Declined(1)))
        if not switch["on"]:
            raise RuntimeError("off")
        return "on"

    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle()
    with pytest.raises(RunFailed, match="RuntimeError: off"):
        run.result()
    switch["on"] = True
    run.redrive()
    engine.run_until_idle()
    assert run.result() == "on"


def test_rows_that_were_written_after_the_failure_do_not_block_its_retry(engine: Engine) -> None:
    step, undo = Flaky(1, Declined(2)), Flaky(0, Declined(1))

    @workflow("w", retry=RetryPolicy(max_attempts=2, delay=1))
    def flow(wf: Context) -> str:
        try:
            wf.execute("pay", step)
            wf.execute("ship", Flaky(0, Declined(1)))
        finally:
            wf.execute("clean", undo)
        return "done"

    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle(advance=True)
    assert run.result() == "done"
    assert undo.seen == [1]


def test_a_sync_step_that_is_too_late_times_out_under_virtual_time(engine: Engine, clock: VirtualClock) -> None:
    def slow() -> None:
        clock.advance(3)

    @workflow("w")
    def flow(wf: Context) -> None:
        wf.execute("slow", slow, timeout=2)

    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle()
    with pytest.raises(RunFailed, match="TimedOut: slow: it did not end within 2 s"):
        run.result()


@pytest.mark.parametrize("is_async", [False, True])
def test_attempts_that_hang_time_out_in_real_time(store: Driver, is_async: bool) -> None:
    import asyncio
    import threading

    over, calls = threading.Event(), list[int]()
    first = iter([True])  # which call is the first is decided once, however threads overlap

    def hang() -> str:
        calls.append(current().attempt)
        if next(first, False):
            over.wait(60)
        return "done"

    async def ahang() -> str:
        calls.append(current().attempt)
        if len(calls) == 1:
            await asyncio.Event().wait()
        return "done"

    @workflow("w")
    def flow(wf: Context) -> str:
        return wf.execute("hang", hang, timeout=0.3, retry=RetryPolicy(max_attempts=50, delay=0))

    @workflow("w")
    async def aflow(wf: AsyncContext) -> str:
        return await wf.execute("hang", ahang, timeout=0.3, retry=RetryPolicy(max_attempts=50, delay=0))

    with Engine(store) as engine:
        chosen = aflow if is_async else flow
        engine.register(chosen)
        run = engine.start(chosen)
        with engine.worker():
            assert run.result(timeout=60) == "done"
        over.set()
    assert len(calls) > 1
    assert sorted(calls) == list(range(1, len(calls) + 1))  # a busy machine may let the second one time out as well


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit(), BaseException("odd")])
def test_a_base_exception_of_user_code_fails_the_run_and_not_the_worker(engine: Engine, error: BaseException) -> None:
    @workflow("w", retry=RetryPolicy(delay=0))
    def flow(wf: Context) -> None:
        raise error

    def step() -> None:
        raise error

    @workflow("x", retry=RetryPolicy(delay=0))
    def inside(wf: Context) -> None:
        wf.execute("s", step, retry=RetryPolicy(delay=0))

    engine.register(flow, inside)
    runs = [engine.start(flow), engine.start(inside)]
    assert engine.run_until_idle().failed == 2
    assert [run.info().error.type for run in runs] == [type(error).__name__] * 2  # type: ignore[union-attr]


def test_a_step_timeout_is_an_error_that_the_workflow_may_catch(engine: Engine, clock: VirtualClock) -> None:
    @workflow("w")
    def flow(wf: Context) -> str:
        try:
            wf.execute("slow", lambda: clock.advance(3), timeout=2)
        except TimedOut:
            return "late"
        return "in time"

    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle()
    assert run.result() == "late"


@pytest.mark.parametrize(("rows", "size"), [(3, 1 << 30), (1 << 30, 3)])
def test_a_journal_that_grows_too_large_fails_the_run_and_names_the_way_out(
    engine: Engine, rows: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepflow.replay.journal.MOST_ROWS", rows)
    monkeypatch.setattr("stepflow.replay.journal.MOST_BYTES", size)

    @workflow("w")
    def flow(wf: Context) -> None:
        wf.now("a")
        wf.sleep("s", 1)
        wf.now("b")
        wf.now("c")

    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle(advance=True)
    with pytest.raises(RunFailed, match=r"TooLarge: w: the journal .* call wf\.continue_as_new\(input\) before that"):
        run.result()


@pytest.mark.parametrize("delay", [0, 1])
def test_the_attempts_of_a_step_grow_over_deaths_and_failures(store: Driver, clock: VirtualClock, delay: float) -> None:
    first, step, last = Flaky(0, Declined(7)), Flaky(2, Declined(7)), Flaky(0, Declined(7))

    @workflow("w")
    def flow(wf: Context, inp: None) -> None:
        wf.execute("first", first)
        wf.execute("step", step, retry=RetryPolicy(max_attempts=9, delay=delay, factor=1, jitter=0))
        wf.execute("last", last)

    def die() -> None:
        victim = victims.enter_context(closing(store.connect("", Owner(name := uuid4().hex, "host", 1), clock.now())))
        claims = [victim.claim({"w": flow.definition}, clock.now(), 1, suspects=one) for one in (False, True)]
        assert sum(map(len, claims)) == 1
        engine._engine._session.store.beat(clock.now(), [name])  # type: ignore[attr-defined]

    with ExitStack() as victims, Engine(store, clock=clock) as engine:
        run = engine.start(flow, None, id="r")
        engine.register(flow)
        die()
        engine.run_until_idle()
        while delay and run.status() == "sleeping":
            clock.advance(delay)
            die()
            die()
            assert run.info().attempt == step.seen[-1] + 3
            engine.run_until_idle()
        assert run.status() == "completed"
    assert (first.seen, step.seen, last.seen) == ([2], [1, 4, 7] if delay else [1, 2, 3], [1])
