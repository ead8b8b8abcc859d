"""`run_timeout` of runs that a worker holds, that are paused or blocked, or of which the outcome of a call is unknown."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest

from stepflow import (
    AsyncContext,
    Context,
    Engine,
    Limit,
    RunFailed,
    Status,
    current,
    named,
    workflow,
)
from stepflow.drivers.port.commit import Owner
from stepflow.model.durations import duration_text
from tests.engine.flows import Order, chain, note
from tests.engine.timed_runs import HOUR, WAIT_S, begun_in_time, ended, wait_for_end, waiting_flow


def test_a_limit_of_runs_that_are_held_keeps_no_end_back(store):
    begun, go_on, limit = threading.Event(), threading.Event(), Limit("one", concurrency=1)

    def slow() -> None:
        begun.set()
        assert go_on.wait(WAIT_S)

    flow = named("x", Order).do("slow", slow).compile()
    with Engine(store) as engine:
        engine.register(flow)
        first = engine.start(flow, Order(), id="a", limits=limit)
        with engine.worker():
            assert begun.wait(WAIT_S)
            second = engine.start(flow, Order(), id="b", limits=limit, run_timeout=0.05)
            with pytest.raises(RunFailed, match="run_timeout"):
                second.result(timeout=WAIT_S)
            go_on.set()
            first.result(timeout=WAIT_S)


@pytest.mark.parametrize("style", ["chain", "workflow", "async chain", "async workflow"])
def test_a_step_that_does_not_end_is_given_up(store, style):
    begun, go_on, cancelled = threading.Event(), threading.Event(), threading.Event()

    def slow(*_given: Any) -> None:
        begun.set()
        assert go_on.wait(WAIT_S)

    async def aslow(*_given: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    @workflow("w")
    def work(wf: Context) -> None:
        wf.execute("slow", slow)
        wf.execute("never", never)

    @workflow("aw")
    async def awork(wf: AsyncContext) -> None:
        await wf.execute("slow", aslow)
        await wf.execute("never", never)

    made: list[str] = []

    def never(*_given: Any) -> None:
        made.append("never")

    step = slow if style == "chain" else aslow
    flows: dict[str, Any] = {"workflow": work, "async workflow": awork}
    flow = flows.get(style) or named("x", Order).do("slow", step).do("never", never).compile()
    given = () if style in flows else (Order(),)
    with Engine(store) as engine:
        engine.register(flow)
        with engine.worker():
            run, limit = begun_in_time(lambda limit: engine.start(flow, *given, run_timeout=limit), begun)
            with pytest.raises(RunFailed, match="run_timeout"):
                run.result(timeout=WAIT_S)
            assert cancelled.is_set() is ("async" in style)
            go_on.set()
    with Engine(store) as engine:
        info = ended(engine.get(run.id), f"the run did not end within {duration_text(limit)}, its run_timeout")
        assert (info.crashes, made) == (0, [])


def test_the_late_write_of_a_step_is_refused(store):
    go_on = threading.Event()

    def slow(order: Order) -> None:
        order.log.append("late")
        assert go_on.wait(WAIT_S)

    flow = named("x", Order).do("slow", slow).compile()
    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow, Order(), id="r", run_timeout=0.2)
        engine.run_until_idle()  # its caller's thread does not make the step, or this would not end
        with engine.worker(), pytest.raises(RunFailed):
            run.result(timeout=WAIT_S)
        go_on.set()
    with Engine(store) as engine:
        assert engine.get(flow, "r").exchange().log == []
        ended(engine.get("r"), "the run did not end within 0.2 s")


def test_a_paused_run_fails_when_it_is_resumed(engine, clock):
    engine.register(flow := waiting_flow("event"))
    run = engine.start(flow, Order(), run_timeout=HOUR)
    engine.run_until_idle()
    run.pause()
    engine.run_until_idle(advance=True, until=timedelta(days=1))
    assert run.status() is Status.PAUSED
    assert "it fails then, or when it is resumed" in run.explain()
    run.resume()
    engine.run_until_idle()
    ended(run)


def test_the_run_of_a_paused_flow_fails_when_that_is_resumed(engine, clock):
    engine.register(flow := waiting_flow("event"))
    run = engine.start(flow, Order(), run_timeout=HOUR)
    queued = engine.start(flow, Order(), run_timeout=HOUR, at=clock.datetime() + timedelta(seconds=9))
    engine.run_until_idle()
    engine.pause_flow(flow)
    idle = engine.run_until_idle(advance=True, until=timedelta(days=1))
    assert (run.status(), queued.status(), idle.next_due) == (Status.PAUSED, Status.PAUSED, None)
    engine.resume_flow(flow)
    engine.run_until_idle()
    ended(run)
    ended(queued)


def test_a_blocked_run_stays_blocked_and_fails_when_it_goes_on(store, clock):
    old = named("x", Order).do("gone", note("a")).wait_event("w", "paid", int, lambda _o, _p: None).compile()
    new = named("x", Order).do("other", note("b")).compile()
    with Engine(store, clock=clock) as engine:
        engine.register(old)
        run = engine.start(old, Order(), id="r", run_timeout=HOUR)
        engine.run_until_idle()
        run.publish("paid", 1)
    with Engine(store, clock=clock) as engine:
        engine.register(new)
        engine.run_until_idle()
        assert engine.get("r").status() is Status.BLOCKED
        engine.run_until_idle(advance=True, until=timedelta(days=1))
        assert engine.get("r").status() is Status.BLOCKED
        assert "it stays blocked, and fails when it goes on after that" in engine.get("r").explain()
    with Engine(store, clock=clock) as engine:
        engine.register(old)
        engine.run_until_idle()
        ended(engine.get("r"))


def test_the_redrive_of_a_blocked_run_gives_the_whole_limit_again(store, clock):
    old = named("x", Order).do("gone", note("a")).wait_event("w", "paid", int, lambda _o, _p: None).compile()
    new = named("x", Order).do("other", note("b")).compile()
    with Engine(store, clock=clock) as engine:
        engine.register(old)
        engine.start(old, Order(), id="r", run_timeout=HOUR)
        engine.run_until_idle()
        engine.get("r").publish("paid", 1)
    with Engine(store, clock=clock) as engine:
        engine.register(new)
        engine.run_until_idle(advance=True, until=2 * HOUR)
        run = engine.get("r")
        assert run.status() is Status.BLOCKED
        run.redrive()
        assert run.info().ends_at == clock.datetime() + HOUR
    with Engine(store, clock=clock) as engine:
        engine.register(old)
        engine.run_until_idle()
        assert engine.get("r").status() is Status.COMPLETED


@pytest.mark.parametrize("style", ["chain", "workflow"])
def test_a_call_that_is_made_at_most_once_comes_to_its_end(store, style):
    begun, go_on = threading.Event(), threading.Event()
    after: list[str] = []

    def pay(*_given: Any) -> None:
        begun.set()
        assert go_on.wait(WAIT_S)
        if _given:
            _given[0].log.append("paid")

    @workflow("w")
    def work(wf: Context) -> None:
        wf.execute("pay", pay, at_most_once=True)
        wf.execute("then", lambda: after.append("then"))

    steps = named("x", Order).do("pay", pay, at_most_once=True).do("then", lambda: after.append("then")).compile()
    flow: Any = steps if style == "chain" else work
    with Engine(store) as engine:
        engine.register(flow)
        given = (Order(),) if style == "chain" else ()
        with engine.worker():
            run, _limit = begun_in_time(lambda limit: engine.start(flow, *given, run_timeout=limit), begun)
            wait_for_end(run)
            assert run.status() is Status.RUNNING
            go_on.set()
            with pytest.raises(RunFailed, match="run_timeout"):
                run.result(timeout=WAIT_S)
        assert after == []
        if style == "chain":
            assert engine.get(flow, run.id).exchange().log == ["paid"]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_call_of_once_that_is_made_at_most_once_comes_to_its_end(store, is_async):
    begun, go_on, log = threading.Event(), threading.Event(), list[str]()

    def pay() -> int:
        begun.set()
        assert go_on.wait(WAIT_S)
        log.append("paid")
        return 7

    async def apay() -> int:
        begun.set()
        return await asyncio.to_thread(pay)

    def step() -> None:
        current().once("pay", pay, at_most_once=True)

    async def astep() -> None:
        await current().aonce("pay", apay, at_most_once=True)
        await asyncio.Event().wait()

    flow = named("x", Order).do("s", astep if is_async else step).do("n", lambda: log.append("next")).compile()
    with Engine(store) as engine:
        engine.register(flow)
        with engine.worker():
            run, _limit = begun_in_time(lambda limit: engine.start(flow, Order(), run_timeout=limit), begun)
            wait_for_end(run)
            go_on.set()
            with pytest.raises(RunFailed, match="run_timeout"):
                run.result(timeout=WAIT_S)
    assert log == ["paid"]


def test_a_sync_step_is_given_up_behind_its_call_of_once(store):
    begun, paid, go_on, log = threading.Event(), threading.Event(), threading.Event(), list[str]()

    def pay() -> None:
        begun.set()
        assert paid.wait(WAIT_S)
        log.append("paid")

    def step() -> None:
        current().once("pay", pay, at_most_once=True)
        assert go_on.wait(2 * WAIT_S)

    flow = named("x", Order).do("s", step).do("n", lambda: log.append("next")).compile()
    with Engine(store) as engine:
        engine.register(flow)
        with engine.worker():
            run, _limit = begun_in_time(lambda limit: engine.start(flow, Order(), run_timeout=limit), begun)
            wait_for_end(run)
            assert run.status() is Status.RUNNING
            paid.set()
            with pytest.raises(RunFailed, match="run_timeout"):
                run.result(timeout=WAIT_S)
            go_on.set()
    assert log == ["paid"]


@pytest.mark.parametrize("style", ["chain", "workflow"])
def test_an_unknown_outcome_stays_and_the_run_fails_once_it_is_known(store, clock, style):
    calls: list[str] = []

    def pay() -> None:
        calls.append("pay")
        raise KeyboardInterrupt

    @workflow("w")
    def work(wf: Context) -> None:
        wf.execute("pay", pay, at_most_once=True)
        wf.execute("then", lambda: calls.append("then"))

    steps = named("x", Order).do("pay", pay, at_most_once=True).do("then", lambda: calls.append("then")).compile()
    flow: Any = steps if style == "chain" else work
    given = (Order(),) if style == "chain" else ()
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow, *given, id="r", run_timeout=HOUR)
        with pytest.raises(KeyboardInterrupt):
            engine.run_until_idle()
        clock.advance(2 * HOUR)  # its end has passed before a worker meets the call again
        engine.run_until_idle(advance=True, until=timedelta(days=1))
        assert run.status() is Status.BLOCKED
        run.resolve("x/pay" if style == "chain" else "pay", None)
        engine.run_until_idle()
        ended(run)
        assert calls == ["pay"]
        if style == "chain":
            run.redrive()
            engine.run_until_idle()
            assert (run.status(), calls) == (Status.COMPLETED, ["pay", "then"])


def test_a_run_of_a_dead_worker_fails_when_that_is_found_out(store, clock):
    engine_flow = chain("x", "a", "b")
    with Engine(store, clock=clock) as engine:
        engine.register(engine_flow)
        run = engine.start(engine_flow, Order(), id="r", run_timeout=HOUR)
        victim = store.connect("", Owner("victim", "host", 1), clock.now())
        (claim,) = victim.claim({"x": engine_flow.definition}, clock.now(), 1)
        assert claim.fence.id == "r"
        clock.advance(2 * HOUR)
        reaper = store.connect("", Owner("reaper", "host", 1), clock.now())
        reaper.beat(clock.now(), ["victim"])
        reaper.close()
        engine.run_until_idle()
        assert ended(run).crashes == 0
        victim.close()
