"""Steps that raise what is no usual exception, and what is kept of a step that was called."""

from __future__ import annotations

import functools
import gc
import weakref
from collections.abc import Iterator

import pytest

from stepflow import (
    AsyncContext,
    Context,
    Engine,
    RetryPolicy,
    workflow,
)
from stepflow.drivers.port.store import Driver
from stepflow.replay.step import step_function
from stepflow.testing import VirtualClock


@pytest.fixture
def engine(store: Driver, clock: VirtualClock) -> Iterator[Engine]:
    with Engine(store, clock=clock) as engine:
        yield engine


class Stopped(BaseException):
    pass


@pytest.mark.parametrize("error", [Stopped(), SystemExit(3), StopIteration("empty")])
def test_a_step_that_raised_no_usual_exception_is_called_again_by_a_redrive(
    engine: Engine, error: BaseException
) -> None:
    raised, done = [error], list[str]()

    def step(name: str) -> str:
        if name == "third" and raised:
            raise raised.pop()
        done.append(name)
        return name

    @workflow("w")
    def flow(wf: Context) -> None:
        wf.execute("1", step, "first")
        try:
            wf.execute("2", step, "second")
            wf.execute("3", step, "third")
        finally:
            wf.execute("4", step, "last")

    engine.register(flow)
    run = engine.start(flow)
    engine.run_until_idle()
    assert getattr(run.info().error, "type", "") == type(error).__name__
    run.redrive()
    engine.run_until_idle()
    assert run.status() == "completed"
    assert sorted(done) == ["first", "last", "second", "third"]


@pytest.mark.parametrize("virtual", [True, False])
def test_a_StopIteration_of_a_sync_step_of_an_async_workflow_is_its_failure(store: Driver, virtual: bool) -> None:  # noqa: N802
    empty = iter([[], [7]])

    def step() -> int:
        return next(iter(next(empty)))

    @workflow("w")
    async def flow(wf: AsyncContext) -> int:
        return await wf.execute("a", step)

    with Engine(store, clock=VirtualClock() if virtual else None) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        assert getattr(run.info().error, "type", "") == "StopIteration"
        run.redrive()
        engine.run_until_idle()
        assert run.result() == 7


def test_what_a_step_holds_is_not_kept() -> None:
    class Held:
        def step(self) -> int:
            return 1

    held = Held()
    gone = weakref.ref(held)
    for fn in (functools.partial(Held.step, held), lambda held=held: held.step()):
        assert step_function(fn) is step_function(fn)
    del held, fn
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("how", ["redrive", "retry"])
def test_the_failure_of_a_key_with_a_colon_at_its_end_is_forgotten_alone(
    store: Driver, clock: VirtualClock, how: str
) -> None:
    """To the store such a name means all rows whose keys begin with it."""
    made: list[str] = []

    def pay(what: str) -> str:
        made.append(what)
        if what == "" and made.count("") == 1:
            raise ValueError("nothing to pay")
        return what

    @workflow("w", retry=RetryPolicy(max_attempts=2, delay=1) if how == "retry" else None)
    def flow(wf: Context) -> str:
        paid = [wf.execute(f"pay:{what}", pay, what) for what in ("rent", "tax", "")]
        wf.sleep("pause", 10)
        return " ".join(paid)

    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        if how == "redrive":
            run.redrive()
        engine.run_until_idle(advance=True)
        assert run.result() == "rent tax "
    assert made == ["rent", "tax", "", ""]
