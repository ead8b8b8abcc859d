"""Errors that a workflow raises from the failure of a step: which call is made again, and what is stored and logged of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stepflow import Context, Engine, RetryPolicy, Terminal, workflow
from stepflow.drivers.port.store import Driver
from stepflow.testing import VirtualClock
from tests.workflows.test_failure import Declined, Flaky


@pytest.fixture
def engine(store: Driver, clock: VirtualClock) -> Iterator[Engine]:
    with Engine(store, clock=clock) as engine:
        yield engine


class OrderFailed(Exception):
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


def chained(failure: Exception) -> None:
    raise OrderFailed("order") from failure


def chained_twice(failure: Exception) -> None:
    try:
        chained(failure)
    except OrderFailed as error:
        raise RuntimeError("again") from error


def chained_by_hand(failure: Exception) -> None:
    error, other = RuntimeError("a"), RuntimeError("b")
    error.__cause__, other.__cause__ = other, failure
    raise error


@pytest.mark.parametrize("raise_it", [chained, chained_twice, chained_by_hand])
@pytest.mark.parametrize("retry", [None, RetryPolicy(max_attempts=2, delay=1)])
def test_a_failure_that_is_the_cause_of_the_error_is_tried_again(
    engine: Engine, raise_it: Callable[[Exception], None], retry: RetryPolicy | None
) -> None:
    step, first, undo = Flaky(1, Declined(2)), Flaky(0, Declined(1)), Flaky(0, Declined(1))

    @workflow("w", retry=retry)
    def flow(wf: Context) -> str:
        wf.execute("first", first)
        try:
            return wf.execute("pay", step)
        except Declined as failure:
            wf.execute("undo", undo)
            raise_it(failure)
            raise

    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle()
    assert run.info().position == ["step:pay"]
    if retry is None:
        assert run.status() == "failed"
        run.redrive()
    engine.run_until_idle(advance=True)
    assert run.result() == "done"
    assert (first.seen, step.seen, undo.seen) == ([1], [1, 1], [1])


def test_a_failure_that_the_code_caught_stays_though_another_error_was_raised_meanwhile(engine: Engine) -> None:
    step, bug = Flaky(1, Declined(2)), {"there": True}

    def handle() -> str:
        if bug["there"]:
            raise KeyError("in the handler")
        return "handled"

    @workflow("w")
    def flow(wf: Context) -> str:
        try:
            return wf.execute("pay", step)
        except Declined:
            return handle()

    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle()
    assert (run.status(), run.info().position) == ("failed", [])
    bug["there"] = False
    run.redrive()
    engine.run_until_idle()
    assert (run.result(), step.seen) == ("handled", [1])


def test_a_circle_of_causes_has_an_end(engine: Engine) -> None:
    @workflow("w")
    def flow(wf: Context) -> str:
        error, other = RuntimeError("a"), RuntimeError("b")
        error.__cause__, other.__cause__ = other, error
        raise error

    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle()
    assert (run.status(), run.info().position) == ("failed", [])


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_traceback_is_stored_and_logged_once(engine: Engine, caplog: pytest.LogCaptureFixture, wrapped: bool) -> None:
    def pay() -> str:
        raise Declined(2)

    @workflow("w")
    def flow(wf: Context) -> str:
        try:
            return wf.execute("pay", pay, retry=RetryPolicy(max_attempts=2, delay=0))
        except Declined as failure:
            if wrapped:
                raise RuntimeError("order") from failure
            raise

    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle(advance=True)
    error = run.info().error
    assert error is not None
    for text in (error.traceback, caplog.text.partition("failed at pay")[2]):
        assert text.count("Traceback (most recent call last)") == 1 + wrapped
        assert text.count("in pay") == 1
        assert "stepflow/replay" not in text
    assert error.traceback.count("in flow") == 1


class Stolen(Terminal):
    def __init__(self, card: object) -> None:
        super().__init__("stolen")
        self.card = card  # no plain value: the exception cannot be made again from its stored form


def declared() -> None:
    raise Stolen(object())


def wrapped() -> None:
    raise OrderFailed("order") from Terminal("stolen")


def grouped() -> None:
    raise ExceptionGroup("tasks", [OSError("reset"), Terminal("stolen")])


@pytest.mark.parametrize("step", [declared, wrapped, grouped])
@pytest.mark.parametrize("level", ["step", "run", "map"])
def test_terminal_is_known_whatever_exception_carries_it(engine: Engine, step: Callable[[], None], level: str) -> None:
    calls: list[str] = []
    policy = RetryPolicy(max_attempts=5, delay=1)

    def pay(_item: int = 0) -> None:
        calls.append("pay")
        step()

    @workflow("w", retry=None if level == "step" else policy)
    def flow(wf: Context) -> None:
        if level == "map":
            (found,) = wf.map("pay", pay, [1])
            assert not found.ok
            raise found.error
        wf.execute("pay", pay, retry=policy if level == "step" else None)

    engine.register(flow)
    run = engine.start(flow)
    assert engine.run_until_idle(advance=True).failed == 1
    assert calls == ["pay"]
    run.redrive()
    engine.run_until_idle(advance=True)
    assert calls == ["pay"] * 2
