"""`run_timeout` of workflows, which may undo what they did, of their children, and of runs that begin again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from stepflow import (
    AsyncContext,
    Cancelled,
    Context,
    Limit,
    RetryPolicy,
    RunFailed,
    Status,
    StepflowError,
    workflow,
)
from tests.engine.flows import Broken, Order
from tests.engine.timed_runs import HOUR, broken, ended, open_ends, waiting_flow


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("waits", ["sleep", "event", "retry"])
def test_a_workflow_may_undo_what_it_did(engine, clock, session, is_async, waits):
    log: list[str] = []

    def step(text: str) -> Callable[[], None]:
        return lambda: log.append(text)

    def broken() -> None:
        raise Broken("not yet")

    slowly = RetryPolicy(max_attempts=9, delay=9000, factor=1, max_delay=9000, jitter=0)

    @workflow("w")
    def work(wf: Context) -> str:
        wf.execute("book", step("book"))
        try:
            if waits == "sleep":
                wf.sleep("s", timedelta(days=1))
            elif waits == "event":
                wf.wait_for_event("e", "paid", int)
            else:
                wf.execute("b", broken, retry=slowly)
        except Cancelled:
            wf.sleep("breath", 60)
            wf.execute("undo", step("undo"))
            raise
        return "done"

    @workflow("w")
    async def awork(wf: AsyncContext) -> str:
        await wf.execute("book", step("book"))
        try:
            if waits == "sleep":
                await wf.sleep("s", timedelta(days=1))
            elif waits == "event":
                await wf.wait_for_event("e", "paid", int)
            else:
                await wf.execute("b", broken, retry=slowly)
        finally:
            await wf.sleep("breath", 60)
            await wf.execute("undo", step("undo"))
        return "done"

    flow: Any = awork if is_async else work
    engine.register(flow)
    began = clock.datetime()
    run = engine.start(flow, run_timeout=HOUR)
    engine.run_until_idle(advance=True, until=HOUR + timedelta(seconds=30))
    info = run.info()
    assert (info.status, info.cancel_requested, info.ends_at) == (Status.SLEEPING, False, began + HOUR)
    assert "it fails when it has undone what it did" in run.explain()
    assert log == ["book"]
    idle = engine.run_until_idle(advance=True)
    assert log == ["book", "undo"]
    assert ended(run).updated_at == began + HOUR + timedelta(seconds=60)
    assert (idle.next_due, open_ends(session)) == (None, [])
    with pytest.raises(StepflowError, match="may have undone what it did when its run_timeout was over"):
        run.redrive()


def test_what_undoing_raises_is_told(engine):
    @workflow("w")
    def work(wf: Context) -> None:
        wf.execute("a", lambda: None)
        try:
            wf.sleep("s", timedelta(days=1))
        except Cancelled:
            wf.execute("undo", broken)

    engine.register(work)
    run = engine.start(work, run_timeout=HOUR)
    engine.run_until_idle(advance=True)
    ended(run)
    assert "; then it raised Broken: again" in run.info().error.message


def test_a_workflow_that_did_nothing_ends_at_once(engine, clock):
    @workflow("w")
    def work(wf: Context) -> None:
        raise AssertionError("it is not called")

    engine.register(work)
    run = engine.start(work, run_timeout=HOUR, limits=Limit("no", rate=1, per=timedelta(days=9)), id="b")
    engine.start(work, limits=Limit("no", rate=1, per=timedelta(days=9)), id="a", at=clock.datetime() - HOUR)
    engine.run_until_idle(advance=True)
    ended(run)
    engine.get("b").redrive()
    assert engine.get("b").info().ends_at == clock.datetime() + HOUR


def test_a_cancel_in_time_is_a_cancel(engine, clock, session):
    @workflow("w")
    def work(wf: Context) -> None:
        wf.execute("a", lambda: None)
        try:
            wf.sleep("s", timedelta(days=1))
        finally:
            wf.sleep("undo", timedelta(minutes=50))

    engine.register(work, waits := waiting_flow("event"))
    run, other = engine.start(work, run_timeout=HOUR), engine.start(waits, Order(), run_timeout=HOUR)
    engine.run_until_idle(advance=True, until=timedelta(minutes=30))
    run.cancel()
    other.cancel()
    assert open_ends(session) == []
    assert run.info().ends_at is None
    engine.run_until_idle(advance=True)  # it undoes what it did until after its end
    assert (run.status(), other.status()) == (Status.CANCELLED, Status.CANCELLED)


def test_redrive_and_rewind_give_the_whole_limit_again(engine, clock, session):
    engine.register(flow := waiting_flow("event"))
    run = engine.start(flow, Order(), run_timeout=HOUR)
    engine.run_until_idle(advance=True)
    ended(run)
    clock.advance(timedelta(days=1))
    run.redrive()
    assert run.info().ends_at == clock.datetime() + HOUR
    assert open_ends(session) == [run.id]
    engine.run_until_idle()
    assert run.status() is Status.WAITING
    clock.advance(timedelta(minutes=40))
    run.rewind(step="x/a")
    assert run.info().ends_at == clock.datetime() + HOUR
    engine.run_until_idle(advance=True, until=timedelta(minutes=30))
    assert run.status() is Status.WAITING
    fork = run.fork(step="x/a", id="fork")
    assert fork.info().ends_at == clock.datetime() + HOUR
    engine.run_until_idle(advance=True)
    ended(run)
    ended(fork)
    assert open_ends(session) == []


def test_a_rewind_lets_a_workflow_go_on_that_undid_what_it_did(engine, clock):
    log: list[str] = []

    @workflow("w")
    def work(wf: Context) -> None:
        wf.execute("book", lambda: log.append("book"))
        try:
            wf.wait_for_event("e", "paid", int)
        except Cancelled:
            wf.execute("undo", lambda: log.append("undo"))
            raise

    engine.register(work)
    run = engine.start(work, run_timeout=HOUR)
    engine.run_until_idle(advance=True)
    ended(run)
    run.rewind(step="book")
    engine.run_until_idle()
    assert (run.info().ends_at, run.status()) == (clock.datetime() + HOUR, Status.WAITING)
    run.publish("paid", 1)
    engine.run_until_idle()
    assert (run.status(), log) == (Status.COMPLETED, ["book", "undo", "book"])


def test_run_retries_and_continue_as_new_keep_the_end(engine, clock):
    began = clock.datetime()
    retry = RetryPolicy(max_attempts=99, delay=1000, factor=1, max_delay=1000, jitter=0)
    tries: list[datetime] = []

    @workflow("retried", retry=retry)
    def retried(wf: Context) -> None:
        tries.append(clock.datetime())
        raise Broken("again")

    @workflow("renewed")
    def renewed(wf: Context, n: int) -> None:
        wf.sleep("s", 1000)
        wf.continue_as_new(n + 1)

    engine.register(retried, renewed)
    first, second = engine.start(retried, run_timeout=HOUR), engine.start(renewed, 0, run_timeout=HOUR)
    engine.run_until_idle(advance=True)
    assert ended(first).updated_at == began + HOUR
    assert ended(second).updated_at == began + HOUR
    assert len(tries) == 4


def test_children_have_it_and_end_with_their_parent(engine, clock):
    inner = waiting_flow("event")

    @workflow("parent")
    def parent(wf: Context) -> list[str]:
        short = wf.start_child("short", inner, Order(), run_timeout=60)
        wf.start_child("left", inner, Order(), on_parent_end="leave")
        some = wf.start_children("some", inner, [Order(), Order()], run_timeout=timedelta(days=1))
        with pytest.raises(RunFailed, match="TimedOut: the run did not end within 1 min"):
            wf.result("r", short)
        wf.result("r2", some[0])
        return []

    engine.register(inner, parent)
    run = engine.start(parent, run_timeout=HOUR, id="p")
    began = clock.datetime()
    engine.run_until_idle(advance=True, until=timedelta(minutes=30))
    ended(engine.get("p/short"), "the run did not end within 1 min")
    assert engine.get("p/some[1]").info().ends_at == began + timedelta(days=1)
    engine.run_until_idle(advance=True, until=timedelta(hours=2))
    ended(run)
    assert [engine.get(name).status() for name in ("p/some[0]", "p/some[1]", "p/left")] == [
        Status.CANCELLED, Status.CANCELLED, Status.WAITING,
    ]  # fmt: skip
