"""Pause and resume: of a run and of a flow, in every authoring style, whether a worker holds the run or not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from stepflow import (
    AsyncEngine,
    Engine,
    Execute,
    NotFound,
    ResultTimeout,
    RetryPolicy,
    RunEnded,
    RunFailed,
    StateCtx,
    Status,
    StepflowError,
    commit,
    current,
    flow,
    named,
    park,
    transit,
    workflow,
)
from stepflow.drivers.port.store import Driver
from stepflow.engine.clock import utc_text
from stepflow.model.commands import GetStateByID
from stepflow.replay.async_context import AsyncContext
from stepflow.replay.context import Context
from stepflow.testing import VirtualClock
from tests.engine.flows import Order, note

DID: list[str] = []
PAUSE: list[str] = []  # the places where the run is paused from outside


@pytest.fixture(autouse=True)
def forget() -> None:
    DID.clear()
    PAUSE.clear()


def did(where: str) -> str:
    """Note it; another engine pauses the run here."""
    DID.append(where)
    if where in PAUSE:
        PAUSE.remove(where)
        OTHER[0].get(current().run_id).pause()
    return where


OTHER: list[Engine] = []


@pytest.fixture
def other(store: Driver, clock: VirtualClock) -> Iterator[Engine]:
    with Engine(store, clock=clock) as other:
        OTHER[:] = [other]
        yield other


def once(_order: Order) -> None:
    current().once("k", did, "once")
    current().once("l", did, "after once")


CHAIN = (
    named("chain", Order)
    .do("a", lambda _o: did("a"))
    .do("b", once)
    .do("c", lambda _o: did("c"), at_most_once=True)
    .do("d", lambda _o: did("d"))
    .compile()
)


@workflow("work")
def work(wf: Context, _input: int) -> list[str]:
    return [str(wf.execute(key, did, key)) for key in ("a", "b", "c")]


@workflow("awork")
async def awork(wf: AsyncContext, _input: int) -> list[str]:
    return [str(await wf.execute(key, did, key)) for key in ("a", "b", "c")]


CASES = [
    (CHAIN, Order(), ["a", "once", "after once", "c", "d"]),
    (work, 1, ["a", "b", "c"]),
    (awork, 1, ["a", "b", "c"]),
]


@pytest.mark.parametrize(("style", "given", "places"), CASES, ids=lambda one: getattr(one, "name", ""))
def test_a_holder_stops_at_its_next_commit_and_nothing_is_done_twice(
    engine: Engine, other: Engine, style: Any, given: Any, places: list[str]
) -> None:
    engine.register(style)
    for place in places:
        DID.clear()
        PAUSE.append(place)
        run = engine.start(style, given, id=place)
        engine.run_until_idle()
        last = place == places[-1] and style is CHAIN
        assert places[: places.index(place) + 1] == DID, place
        assert run.status() is (Status.COMPLETED if last else Status.PAUSED), place
        if last:
            continue
        assert engine.run_until_idle().next_due is None
        other.get(place).resume()
        engine.run_until_idle()
        assert run.status() is Status.COMPLETED, (place, run.explain())
        assert places == DID, place
        assert run.info().crashes == 0


def test_what_is_due_meanwhile_takes_effect_at_the_resume(engine: Engine, clock: VirtualClock) -> None:
    def take(order: Order, payload: int) -> None:
        order.log.append(f"got {payload}")

    wait = named("wait", Order).wait_event("w", "paid", int, take, timeout=10).compile()
    poll = named("poll", Order).wait_for("w", lambda: bool(DID), every=5).compile()
    engine.register(wait, poll)
    in_time, late = (engine.start(wait, Order(), id=name) for name in ("in time", "late"))
    polled, at = engine.start(poll, Order()), clock.datetime() + timedelta(seconds=30)
    sleeper = engine.start(CHAIN, Order(), id="sleeper", at=at)
    engine.register(CHAIN)
    engine.run_until_idle()
    for run in (in_time, late, polled, sleeper):
        run.pause()
        run.pause()
    in_time.publish("paid", 7)
    idle = engine.run_until_idle(advance=True)
    assert (idle.next_due, idle.completed, idle.failed) == (None, 0, 0)
    clock.advance(20)
    late.publish("paid", 8)
    DID.append("it came true")
    assert {run.id for run in engine.runs(status="paused")} == {in_time.id, late.id, polled.id, "sleeper"}
    assert engine.tally()["wait"] == {"paused": 2}
    for run in (in_time, late, polled, sleeper):
        run.resume()
    assert engine.run_until_idle().next_due == at
    assert in_time.result().log == ["got 7"]
    with pytest.raises(RunFailed, match="no event 'paid' within 10 s"):
        late.result()
    assert polled.status() is Status.COMPLETED
    assert engine.run_until_idle(advance=True).completed == 1
    assert clock.datetime() == at


def test_a_workflow_counts_events_that_came_within_the_time(engine: Engine, clock: VirtualClock) -> None:
    @workflow("waits")
    def waits(wf: Context, _input: int) -> int:
        return wf.wait_for_event("n", "number", int, timeout=timedelta(seconds=10))

    engine.register(waits)
    in_time, late = (engine.start(waits, 1, id=name) for name in ("in time", "late"))
    engine.run_until_idle()
    in_time.pause()
    late.pause()
    in_time.publish("number", 4)
    clock.advance(11)
    late.publish("number", 5)
    in_time.resume()
    late.resume()
    engine.run_until_idle()
    assert in_time.result() == 4
    with pytest.raises(RunFailed, match="TimedOut"):
        late.result()


def test_flow_functions_stop_and_go_on_behind_the_pause(engine: Engine, other: Engine, clock: VirtualClock) -> None:
    @flow("first")
    def first(ctx: StateCtx) -> Any:
        DID.append("first")
        if len(DID) == 1:
            other.get(ctx.id).pause()
        return commit(transit(ctx, "second"))

    @flow("second")
    def second(ctx: StateCtx) -> Any:
        DID.append("second")
        return commit(park(ctx))

    engine.register(first, second)
    run = engine.start(first, id="s")
    engine.run_until_idle()
    assert (run.status(), DID) == (Status.PAUSED, ["first"])
    run.resume()
    engine.run_until_idle()
    assert (run.status(), DID) == (Status.PARKED, ["first", "second"])
    run.pause()
    assert run.status() is Status.PAUSED
    ctx = StateCtx("s")
    engine.do(GetStateByID(ctx, ctx.id))
    engine.do(commit(transit(ctx, "second")))
    assert (ctx.committed.transition.to, run.status()) == ("second", Status.PAUSED)
    engine.run_until_idle()
    assert DID == ["first", "second"]
    run.resume()
    engine.run_until_idle()
    assert DID == ["first", "second", "second"]


@pytest.mark.parametrize("awaits", [False, True])
def test_a_flow_function_that_a_pause_stops_is_logged_as_paused(
    awaits: bool, engine: Engine, other: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    @flow("first")
    def first(ctx: StateCtx, engine: Engine) -> Any:
        other.get(ctx.id).pause()
        moved = commit(transit(ctx, "second"))
        if not awaits:
            return moved
        engine.do(moved)
        return Execute(ctx)

    caplog.set_level(logging.INFO, "stepflow")
    engine.register(first)
    run = engine.start(first, id="s")
    engine.run_until_idle()
    assert run.status() is Status.PAUSED
    assert [record.event for record in caplog.records if hasattr(record, "event")] == ["paused"]
    assert (run.info().attempt, run.info().error, run.info().crashes) == (1, None, 0)


def test_a_paused_flow_takes_starts_and_starts_nothing(engine: Engine, other: Engine) -> None:
    simple = (
        named("simple", Order)
        .do("a", note("a"))
        .do("b", lambda _o: engine.pause_flow(simple))
        .do("c", note("c"))
        .compile()
    )
    engine.register(simple)
    other.pause_flow("simple")
    other.pause_flow(simple)
    (paused,) = engine.paused_flows()
    assert paused.flow == "simple"
    run = engine.start(simple, Order())
    assert engine.run_until_idle().next_due is None
    assert (run.status(), run.info().paused) == (Status.PAUSED, False)
    assert (
        run.explain()
        .splitlines()[1]
        .startswith("flow 'simple' was paused, no worker takes it: stepflow resume --flow 'simple'")
    )
    assert engine.runs(status="queued") == []
    assert [one.status for one in engine.runs()] == [Status.PAUSED]
    with pytest.raises(ResultTimeout):
        run.result(timeout=0.01)
    other.resume_flow("simple")
    engine.run_until_idle()
    assert run.result().log == ["a", "c"]  # a run that is held goes on
    assert [one.flow for one in other.paused_flows()] == ["simple"]


def test_a_schedule_shows_its_runs_of_a_paused_flow_as_paused(engine: Engine) -> None:
    simple = named("simple", Order).do("a", note("a")).compile()
    engine.register(simple)
    engine.pause_flow(simple)
    schedule = engine.schedule("nightly", simple, Order(), cron="@daily")
    run = schedule.trigger()
    assert [one.status for one in schedule.runs()] == [run.status()] == [Status.PAUSED]


def test_a_paused_wait_is_explained_as_a_wait(engine: Engine, clock: VirtualClock) -> None:
    flow = named("asks", Order).wait_event("paid", "paid", int, lambda o, n: None, timeout=timedelta(days=1)).compile()
    engine.register(flow)
    run = engine.start(flow, Order(), id="one")
    engine.run_until_idle()
    run.pause()
    deadline = run.info().deadline
    assert deadline == clock.datetime() + timedelta(days=1)
    waits, ends = run.explain().splitlines()[2:]
    assert waits.startswith("it waits for event 'paid': stepflow publish 'one' --store ")
    assert ends == f"it times out at {utc_text(deadline)}"


def test_cancel_of_a_paused_run_works_at_once(engine: Engine, clock: VirtualClock) -> None:
    @workflow("undoes")
    def undoes(wf: Context, _input: int) -> None:
        wf.execute("a", did, "a")
        try:
            wf.sleep("s", timedelta(days=1))
        finally:
            wf.execute("undo", did, "undo")

    engine.register(undoes, CHAIN)
    started, unstarted = engine.start(undoes, 1), engine.start(CHAIN, Order(), at=clock.datetime() + timedelta(days=1))
    engine.run_until_idle()
    for run in (started, unstarted):
        run.pause()
        run.cancel()
    assert unstarted.status() is Status.CANCELLED
    engine.run_until_idle()
    assert (started.status(), DID) == (Status.CANCELLED, ["a", "undo"])
    for call in (started.pause, started.resume):
        with pytest.raises(RunEnded, match="it cannot be paused or resumed"):
            call()


def test_a_retry_that_is_paused_keeps_its_attempts(engine: Engine, clock: VirtualClock) -> None:
    def fails(order: Order) -> None:
        DID.append("try")
        if len(DID) < 3:
            raise ValueError("not yet")

    again = (
        named("again", Order).do("f", fails).compile(retry=RetryPolicy(max_attempts=3, delay=10, factor=1, jitter=0))
    )
    engine.register(again)
    run = engine.start(again, Order())
    engine.run_until_idle()
    run.pause()
    info = run.info()
    assert (info.status, info.paused, info.attempt) == (Status.PAUSED, True, 2)
    assert info.due == clock.datetime() + timedelta(seconds=10)
    why, then = run.explain().splitlines()[1:]
    assert why.startswith(f"it was paused, no worker takes it: stepflow resume {run.id!r} --store ")
    assert then == f"then it goes on at {utc_text(info.due)}"
    run.resume()
    engine.run_until_idle(advance=True)
    assert (run.status(), len(DID)) == (Status.COMPLETED, 3)


def test_what_cannot_be_paused_is_refused(engine: Engine) -> None:
    for call in (engine.get("missing").pause, engine.get("missing").resume):
        with pytest.raises(NotFound, match="missing"):
            call()
    for wrong in ("", 3, None):
        with pytest.raises(StepflowError, match=r"pause_flow\("):
            engine.pause_flow(wrong)  # type: ignore[arg-type]


def test_a_worker_in_the_background_goes_on_when_it_is_resumed(store: Driver) -> None:
    asyncio.run(_in_the_background(store))


async def _in_the_background(store: Driver) -> None:
    chain = named("x", Order).do("a", note("a")).wait_event("w", "go", int, lambda _o, _p: None).compile()
    async with AsyncEngine(store) as engine, AsyncEngine(store) as client:
        engine.register(chain)
        async with engine.worker():
            await client.pause_flow(chain)
            run = await client.start(chain, Order())
            await run.publish("go", 1)
            assert await run.status() is Status.PAUSED
            await run.pause()
            await client.resume_flow(chain)
            assert await run.status() is Status.PAUSED
            await run.resume()
            assert (await run.result(timeout=60)).log == ["a"]


def test_messages_of_topics_are_not_paused():
    with Engine("memory://") as engine, pytest.raises(StepflowError, match="pause the runs that wait for them"):
        engine.pause_flow("stepflow.topic")


def test_a_pause_of_a_name_that_nothing_has_is_warned_of(
    engine: Engine, other: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    flow = named("noted", Order).do("a", note("a")).compile()
    engine.start(flow, Order(), id="one")
    other.pause_flow(flow)
    other.pause_flow("noted")  # a run of it is stored
    assert caplog.records == []
    other.pause_flow("notes")
    assert "flow 'notes' is paused, but no worker at work has registered it" in caplog.text
    assert [one.flow for one in other.paused_flows()] == ["noted", "notes"]
