"""A cancel that comes during the last call of a workflow, which cannot be interrupted, is raised in that call: what was done is undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from stepflow import AsyncContext, Cancelled, Context, Engine, MemoryDriver, RunCancelled, named, workflow
from stepflow.drivers.port.store import Driver
from stepflow.engine.execution.step_attempt import StepAttempt
from stepflow.engine.execution.workflow_commits import WorkflowCommits
from stepflow.replay.effects import Note

DONE: list[str] = []
Cancel = Callable[[], None]


@pytest.fixture
def engine(store: Driver) -> Iterator[Engine]:
    DONE.clear()
    with Engine(store) as engine:
        yield engine


def undone(name: str) -> str:
    DONE.append(f"undo {name}")
    return name


def cancel_once(engine: Engine, run_id: str = "r") -> str:
    """A step: while it runs, a caller cancels the run."""
    DONE.append("pay")
    engine.get(run_id).cancel()
    return "receipt 17"


def calls(engine: Engine) -> dict[str, Callable[[Context], Any]]:
    """Last calls of sync workflows, during each of which a cancel comes."""

    @workflow("child")
    def child(wf: Context) -> None:
        wf.sleep("s", 3600)

    engine.register(child)

    def once_more(wf: Context) -> None:
        wf.execute("pay", cancel_once, engine)
        wf.continue_as_new(None)

    def starts(wf: Context) -> None:
        wf.execute("pay", cancel_once, engine)
        wf.start_child("child", child)

    return {
        "step": lambda wf: wf.execute("pay", cancel_once, engine),
        "once": lambda wf: wf.execute("pay", cancel_once, engine, at_most_once=True),
        "map": lambda wf: wf.map("pay", cancel_once, [engine]),
        "code": lambda wf: (wf.patched("new"), cancel_once(engine)),
        "new input": once_more,
        "not a call behind it": starts,
    }


@pytest.mark.parametrize("last", ["step", "once", "map", "code", "new input", "not a call behind it"])
def test_it_is_raised_in_the_last_call_of_a_sync_workflow(last: str, engine: Engine) -> None:
    call = calls(engine)[last]

    @workflow("w")
    def flow(wf: Context) -> None:
        wf.execute("reserve", DONE.append, "reserve")
        try:
            call(wf)
        except Cancelled:
            wf.execute("undo", undone, "reserve")
            raise

    engine.register(flow)
    run = engine.start(flow, id="r")
    with engine.worker(), pytest.raises(RunCancelled):
        run.result(timeout=60)
    assert DONE == ["reserve", "pay", "undo reserve"]
    assert engine.runs(flow="child", open=True) == []


@pytest.mark.parametrize("last", ["step", "gather", "in a branch"])
def test_it_is_raised_in_the_last_call_of_an_async_workflow(last: str, engine: Engine) -> None:
    async def quick() -> None: ...

    async def branch(wf: AsyncContext) -> None:
        await wf.execute("quick", quick)
        await wf.execute("pay", cancel_once, engine)

    @workflow("w")
    async def flow(wf: AsyncContext) -> None:
        await wf.execute("reserve", DONE.append, "reserve")
        try:
            if last == "step":
                await wf.execute("pay", cancel_once, engine)
            elif last == "gather":
                await wf.gather(wf.execute("quick", quick), wf.execute("pay", cancel_once, engine))
            else:
                await wf.gather(branch(wf), wf.execute("other", quick))
        except Cancelled:
            await wf.execute("undo", undone, "reserve")
            raise

    engine.register(flow)
    run = engine.start(flow, id="r")
    with engine.worker(), pytest.raises(RunCancelled):
        run.result(timeout=60)
    assert DONE == ["reserve", "pay", "undo reserve"]


@pytest.mark.parametrize("key", ["undo", "undo:"])
@pytest.mark.parametrize("is_async", [False, True])
def test_it_is_not_lost_in_the_first_call_of_a_finally(engine: Engine, is_async: bool, key: str) -> None:
    """That would raise it in place of undoing: the call before it does."""

    @workflow("w")
    def flow(wf: Context) -> None:
        wf.execute("undo: reserve", DONE.append, "reserve")
        try:
            wf.execute("pay", cancel_once, engine)
        finally:
            wf.execute(key, undone, "pay")
            wf.execute("undo more", undone, "reserve")

    @workflow("w")
    async def aflow(wf: AsyncContext) -> None:
        await wf.execute("undo: reserve", DONE.append, "reserve")
        try:
            await wf.execute("pay", cancel_once, engine)
        finally:
            await wf.execute(key, undone, "pay")
            await wf.execute("undo more", undone, "reserve")

    chosen = aflow if is_async else flow
    engine.register(chosen)
    run = engine.start(chosen, id="r")
    with engine.worker(), pytest.raises(RunCancelled):
        run.result(timeout=60)
    assert DONE == ["reserve", "pay", "undo pay", "undo reserve"]


@pytest.mark.parametrize("waits", [False, True])
def test_a_workflow_that_undoes_nothing_makes_no_call_after_it(engine: Engine, waits: bool) -> None:
    @workflow("w")
    def flow(wf: Context) -> None:
        wf.execute("pay", cancel_once, engine)
        wf.sleep("s", 60) if waits else wf.execute("more", DONE.append, "more")
        wf.execute("last", DONE.append, "last")

    engine.register(flow)
    run = engine.start(flow, id="r")
    with engine.worker(), pytest.raises(RunCancelled):
        run.result(timeout=60)
    assert DONE == ["pay"]


def test_the_undoing_goes_on_after_a_crash_and_the_value_of_the_call_stays_to_be_read(store: Driver) -> None:
    DONE.clear()

    @workflow("w")
    def flow(wf: Context) -> None:
        try:
            wf.execute("pay", cancel_once, engine)
        except Cancelled:
            wf.sleep("later", timedelta(seconds=1))
            wf.execute("undo", undone, "pay")

    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow, id="r")
        engine.run_until_idle()
        assert run.info().position == ["sleep:later"]
        assert [(one.kind, one.text) for one in run.timeline() if one.where == "pay"] == [("cancelled", '"receipt 17"')]
    with Engine(store) as engine:
        engine.register(flow)
        run = engine.get(flow, "r")
        with engine.worker(), pytest.raises(RunCancelled):
            run.result(timeout=60)
    assert DONE == ["pay", "undo pay"]


def test_a_cancel_of_which_only_the_store_knows_is_raised_in_the_last_call_too(
    store: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store refuses to end the run as completed."""
    DONE.clear()
    monkeypatch.setattr(WorkflowCommits, "request_cancel", lambda self: None)
    monkeypatch.setattr("stepflow.engine.execution.workflow_calls.WorkflowCalls.request_cancel", lambda self: None)

    @workflow("w")
    def flow(wf: Context) -> str:
        try:
            return wf.execute("pay", cancel_once, engine)
        except Cancelled:
            wf.execute("undo", undone, "pay")
            raise

    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow, id="r")
        with engine.worker(), pytest.raises(RunCancelled):
            run.result(timeout=60)
    assert DONE == ["pay", "undo pay"]


def test_a_function_that_has_heard_of_it_is_not_called_again(engine: Engine) -> None:
    @workflow("w")
    def flow(wf: Context) -> str:
        try:
            wf.execute("pay", cancel_once, engine)
            wf.now("end")
        except Cancelled:
            DONE.append("heard")
        return "went on"

    engine.register(flow)
    run = engine.start(flow, id="r")
    with engine.worker(), pytest.raises(RunCancelled):
        run.result(timeout=60)
    assert DONE == ["pay", "heard"]


@pytest.mark.parametrize("paused", [False, True])
def test_a_workflow_that_has_just_begun_anew_hears_of_it(
    engine: Engine, paused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its journal is empty, but what it did before is to be undone. Another process cancels it: no worker holds it, or the one that does has not heard."""
    monkeypatch.setattr("stepflow.engine.execution.workflow_calls.WorkflowCalls.request_cancel", lambda self: None)

    @workflow("w")
    def flow(wf: Context, reserved: str) -> None:
        try:
            if not reserved:
                wf.execute("reserve", DONE.append, "reserve")
                run.pause() if paused else run.cancel()
                wf.continue_as_new("it")
            wf.wait_for_event("go", "go", str)
        except Cancelled:
            wf.execute("undo", undone, reserved)
            raise

    engine.register(flow)
    run = engine.start(flow, "", id="r")
    engine.run_until_idle()
    if paused:
        assert run.status() == "paused"
        run.cancel()
        engine.run_until_idle()
    assert run.status() == "cancelled"
    assert DONE == ["reserve", "undo it"]


@pytest.mark.parametrize("style", ["chain", "workflow"])
def test_a_call_that_is_made_at_most_once_does_not_begin_if_it_comes_while_that_is_recorded(
    style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    DONE.clear()
    if style == "workflow":
        member_of = WorkflowCommits._member

        def member(self: Any, effect: Any) -> Any:
            if isinstance(effect, Note) and effect.kind == "intent":
                self.request_cancel()
            return member_of(self, effect)

        monkeypatch.setattr(WorkflowCommits, "_member", member)

        @workflow("w")
        def made(wf: Context) -> None:
            wf.execute("reserve", DONE.append, "reserve")
            try:
                wf.execute("pay", DONE.append, "pay", at_most_once=True)
            except Cancelled:
                wf.execute("undo", undone, "reserve", at_most_once=True)
                raise

    else:
        intent_of = StepAttempt._intent

        def intent(self: Any, task: Any) -> Any:
            self.request_cancel()
            return intent_of(self, task)

        monkeypatch.setattr(StepAttempt, "_intent", intent)
        made = (
            named("c", list[str])
            .do("reserve", lambda: None)
            .do("pay", partial(DONE.append, "pay"), at_most_once=True)
            .compile()
        )

    with Engine(MemoryDriver()) as engine:
        engine.register(made)
        run = engine.start(made, [] if style == "chain" else None, id="r")
        engine.run_until_idle()
        assert run.status() == "cancelled"
    assert (["reserve", "undo reserve"] if style == "workflow" else []) == DONE
