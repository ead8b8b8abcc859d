"""Every status, as `info`, `explain`, `runs` and `tally` show it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from stepflow import AsyncEngine, Context, Engine, RetryPolicy, Status, Steps, named, workflow
from stepflow.drivers.port.commit import Commit, Dequeue
from stepflow.drivers.port.queries import OwnerQuery
from stepflow.engine.client.explain import command, why
from stepflow.engine.clock import moment, utc_text
from tests.engine.flows import Flaky, Order, chain


def show(engine: Any, run: Any, flow: str) -> Status:
    """The status, after a check that all reads agree on it."""
    status = run.status()
    assert run.info().status is status
    assert f"is {status} at" in run.explain()
    assert [info.id for info in engine.runs(status=status)] == [run.id]
    assert engine.tally() == {flow: {str(status): 1}}
    return status


def test_explain_names_the_engines_that_registered_the_flow(engine, session):
    run = engine.start(chain("x", "a"), Order(), id="one")
    assert "no worker has taken it: run `stepflow worker MODULE" in run.explain()
    other = session("other")
    other.claim({"y": ""}, 0, 1)
    other.beat(0)
    assert "no worker has taken it: of 1 at work none has registered flow 'x', but 'y'; run `stepflow" in run.explain()
    other.claim({"x": ""}, 0, 1)
    other.beat(0)
    assert "no worker has taken it yet: owner other registered flow 'x', busy with other runs" in run.explain()
    other.close()
    assert "no worker has taken it: run `stepflow worker MODULE" in run.explain()


def test_queued_then_completed(engine):
    flow = chain("x", "a")
    run = engine.start(flow, Order(), id="one")
    assert show(engine, run, "x") is Status.QUEUED
    assert "stepflow worker MODULE" in run.explain()
    assert "has not registered flow 'x'" in run.explain()
    engine.register(flow)
    assert "has not registered" not in run.explain()
    engine.run_until_idle()
    assert show(engine, run, "x") is Status.COMPLETED
    assert run.info().waiting_for == ""


def test_sleeping_until_its_start(engine, clock):
    flow = chain("x", "a")
    engine.register(flow)
    start = clock.datetime() + timedelta(days=90)
    run = engine.start(flow, Order(), at=start)
    assert show(engine, run, "x") is Status.SLEEPING
    assert run.info().due == start
    assert utc_text(start) in run.explain()
    idle = engine.run_until_idle()
    assert (idle.completed, idle.waiting, idle.next_due) == (0, 1, start)
    clock.advance(timedelta(days=90))
    assert show(engine, run, "x") is Status.QUEUED
    assert engine.run_until_idle().completed == 1


def test_sleeping_between_two_tries(engine):
    flow = named("x", Order).retry("pay", RetryPolicy(delay=9, jitter=0), Steps(Order).do("pay", Flaky(1))).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    engine.run_until_idle()
    assert show(engine, run, "x") is Status.SLEEPING
    info = run.info()
    assert (info.waiting_for, info.attempt, info.error.type) == ("delay", 2, "Broken")
    assert "attempt 2 after Broken: call 1" in run.explain()


def test_waiting_for_a_poll(engine, clock):
    flow = named("x", Order).wait_for("ready", lambda: False, every=5, timeout=60).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    engine.run_until_idle()
    assert show(engine, run, "x") is Status.WAITING
    info = run.info()
    assert (info.waiting_for, info.due) == ("poll", clock.datetime() + timedelta(seconds=5))
    assert info.deadline == clock.datetime() + timedelta(seconds=60)
    assert "it polls its condition" in run.explain()
    assert "it times out at" in run.explain()


@pytest.mark.parametrize("timeout", [None, 60])
def test_waiting_for_an_event(engine, clock, timeout):
    flow = named("x", Order).wait_event("ok", "approved", str, lambda _o, _p: None, timeout=timeout).compile()
    engine.register(flow)
    run = engine.start(flow, Order(), id="one")
    engine.run_until_idle()
    assert show(engine, run, "x") is Status.WAITING
    info = run.info()
    assert info.waiting_for == "event:approved"
    assert info.due == (clock.datetime() + timedelta(seconds=60) if timeout else None)
    assert info.deadline == info.due
    assert "stepflow publish 'one'" in run.explain()
    assert engine.run_until_idle().waiting == 1


@pytest.mark.parametrize("run_id", ["{x}", "{}", "a{", "it's", "-a", "a\nb"])
def test_an_explanation_has_a_command_for_every_id(engine, run_id):
    flow = named("x", Order).wait_event("ok", "approved", str, lambda _o, _p: None).compile()
    engine.register(flow)
    run = engine.start(flow, Order(), id=run_id)
    engine.run_until_idle()
    _first, waits = run.explain(store="memory://").splitlines()
    assert waits.endswith(f"{command('publish', 'memory://', run_id, 'approved')} PAYLOAD")


def test_an_explanation_is_short_whatever_there_is(engine):
    def fail(_order: Order) -> None:
        raise ValueError("x" * 10_000)

    flow = named("x", Order).wait_event("ok", "approved", str, lambda _o, _p: None).do("fail", fail).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    for number in range(100):
        run.publish(f"other{number}", number)
    engine.run_until_idle()
    assert run.explain().endswith(", 80 more")
    run.publish("approved", "yes")
    engine.run_until_idle()
    assert len(run.explain()) < 2_000
    assert "… (10," in run.explain()


@pytest.mark.parametrize("real", [False, True])
def test_running_while_a_step_runs(store, clock, real):
    seen: list[Any] = []

    async def look(_order: Order) -> None:
        run = handles[0]
        info = await run.info()
        seen.append((info.status, info.owner != "", await run.explain()))
        seen.append(await run.status())

    handles: list[Any] = []
    flow = named("x", Order).do("look", look).compile()

    async def go() -> None:
        async with AsyncEngine(store, clock=None if real else clock) as engine:
            engine.register(flow)
            handles.append(await engine.start(flow, Order(), id="one"))
            await engine.run_until_idle()

    asyncio.run(go())
    (status, owned, explained), second = seen
    assert (status, owned, second) == (Status.RUNNING, True, Status.RUNNING)
    lines = explained.splitlines()
    assert "holds it and executes x/look" in lines[1]
    assert lines[2:] == [f"its owner beat last at {utc_text(moment(clock.now()))}"] or real


def test_the_step_that_is_executed_is_told_with_its_attempt(engine):
    def charge(_order: Order) -> None:
        told.append(engine.get("one").explain().splitlines()[1].partition("holds it and ")[2])
        if len(told) < 3:
            raise ConnectionError("no bank")

    told: list[str] = []
    retried = Steps().do("charge", charge)
    flow = named("x", Order).do("check", lambda: None).retry("pay", RetryPolicy(3, delay=1.0), retried).compile()
    engine.register(flow)
    engine.start(flow, Order(), id="one")
    engine.run_until_idle(advance=True)
    at = "executes x/payRetry/charge"
    assert told == [at, f"{at}, attempt 2", f"{at}, attempt 3"]


def test_owners_are_read_for_the_info_of_a_run_that_is_held_and_not_for_its_status(engine, store):
    def look(_order: Order) -> None:
        run = engine.get("one")
        for read in (run.status, run.info):
            before = len(asked)
            read()
            counts.append(len(asked) - before)

    asked: list[Any] = []
    counts: list[int] = []
    session = engine._engine._session.store
    read, session.read = (
        session.read,
        lambda query: (isinstance(query, OwnerQuery) and asked.append(query), read(query))[1],
    )
    engine.register(named("x", Order).do("look", look).compile())
    engine.start(named("x", Order).do("look", look).compile(), Order(), id="one")
    engine.run_until_idle()
    counts.append(len(asked))
    assert engine.get("one").info().owner == ""
    assert (counts, len(asked)) == ([0, 1, 1], 1)


def test_the_step_of_a_flow_that_is_not_known_here_is_told_by_the_position_before_it(engine, store, clock):
    def ship(_order: Order) -> None:
        with Engine(store, clock=clock) as other:
            told.append(other.get("one").explain().splitlines()[1].partition("holds it and ")[2])

    told: list[str] = []
    flow = named("x", Order).do("pay", lambda: None).do("ship", ship).compile()
    engine.register(flow)
    engine.start(flow, Order(), id="one")
    engine.run_until_idle()
    assert told == ["executes what follows completed:x/pay"]


def test_failed_and_cancelled(engine):
    flow = named("x", Order).do("pay", Flaky(1)).compile()
    engine.register(flow)
    run = engine.start(flow, Order(), id="one")
    engine.run_until_idle()
    assert show(engine, run, "x") is Status.FAILED
    assert "Broken: call 1" in run.explain()
    assert "stepflow redrive 'one'" in run.explain()
    run.redrive()
    run.cancel()
    assert show(engine, run, "x") is Status.CANCELLED


def test_parked_without_a_queue_row(engine, store, clock):
    run = engine.start(chain("x", "a"), Order(), id="one")
    session = engine._engine._session.store
    session.commit([Commit(queue=(Dequeue("one"),))], clock.now())
    assert show(engine, run, "x") is Status.PARKED


def test_why_names_the_block_of_a_run_that_had_failed_before(engine):
    def charge() -> None:
        if not failed:
            failed.append(True)
            raise ConnectionError("no bank")

    @workflow("order")
    def order(wf: Context) -> None:
        wf.execute("charge", charge, retry=RetryPolicy(2, delay=1.0))
        wf.execute("charge", charge)

    failed: list[bool] = []
    engine.register(order)
    run = engine.start(order)
    engine.run_until_idle()
    assert why(run.info()) == "ConnectionError: no bank [in step charge]"
    engine.run_until_idle(advance=True)
    assert "the key was used before" in why(run.info())
    assert (
        run.explain().splitlines()[1].startswith("a worker released it: order: wf.execute('charge'): the key was used")
    )


def test_a_run_that_is_held_waits_for_nothing(engine):
    def call() -> None:
        told.append(why(engine.get("one").info()))

    @workflow("order")
    def order(wf: Context) -> None:
        wf.sleep("cool-off", 5)
        wf.execute("call", call)

    told: list[str] = []
    engine.register(order)
    run = engine.start(order, id="one")
    engine.run_until_idle()
    assert why(run.info()) == "delay"
    engine.run_until_idle(advance=True)
    assert told == [""]
