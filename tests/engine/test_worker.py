"""worker() and run_forever: background work, ending it, several engines at once, steps that hang."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from contextlib import ExitStack, closing
from typing import Any

import pytest
from attrs import evolve

from stepflow import AsyncEngine, Engine, ResultTimeout, RetryPolicy, Status, StepFlow, Steps, Workflow, current, named
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.queries import DueSummary
from stepflow.drivers.port.store import Store
from stepflow.engine.worker.styles import UNREADABLE
from stepflow.model.flow import Flow
from stepflow.model.function import FlowFunction
from stepflow.model.host import HostFlow
from stepflow.model.topic import TopicFlow
from tests.engine.clocks import ManualClock
from tests.engine.flows import Flaky, Order, anote, chain, note
from tests.engine.heard import heard
from tests.processes.harness import eventually

WAIT_S = 60.0


def test_a_worker_advances_runs_that_are_started_meanwhile(store):
    flow = chain("x", "a", "b")
    with Engine(store) as engine:
        engine.register(flow)
        with engine.worker():
            runs = [engine.start(flow, Order(n), id=f"run-{n}") for n in range(20)]
            assert [run.result(timeout=WAIT_S) for run in runs] == [Order(n, ["a", "b"]) for n in range(20)]
        late = engine.start(flow, Order())
        with pytest.raises(ResultTimeout, match=r"within 0\.01 s"):
            late.result(timeout=0.01)
        assert late.status() is Status.QUEUED
        with engine.worker():  # and again
            late.result(timeout=WAIT_S)


def test_a_worker_that_ends_at_once_ends(store):
    with Engine(store) as engine:
        for _ in range(3):
            with engine.worker():
                pass
    with Engine(store) as engine, engine.worker():
        pass


def test_a_worker_advances_flows_that_are_registered_meanwhile(store):
    flow = chain("x", "a")
    with Engine(store) as engine, engine.worker():
        run = engine.start(flow, Order())
        assert run.status() is Status.QUEUED
        engine.register(flow)
        assert run.result(timeout=WAIT_S).log == ["a"]


def test_a_worker_wakes_for_timers_events_and_redrives(store):
    step = Flaky(2)
    chain_ = named("x", Order).retry("r", RetryPolicy(max_attempts=2, delay=0.01), Steps(Order).do("f", step))
    flow = chain_.wait_for("w", lambda o: o.log.append("poll") or len(o.log) > 3, every=0.01)  # type: ignore[func-returns-value]
    compiled = flow.wait_event("e", "paid", int, lambda o, p: o.log.append(str(p))).compile()
    with Engine(store) as engine:
        engine.register(compiled)
        with engine.worker():
            run = engine.start(compiled, Order())
            with pytest.raises(Exception, match="call 2"):
                run.result(timeout=WAIT_S)
            run.redrive()
            run.publish("paid", 5)
            assert run.result(timeout=WAIT_S).log[-1] == "5"


def test_a_block_that_raises_ends_the_worker_too(store):
    with Engine(store) as engine:
        with pytest.raises(KeyError), engine.worker():
            raise KeyError("mine")
        assert engine.run_until_idle().completed == 0


def test_quit_ends_run_forever_and_releases_claims(store):
    flow = named("x", Order).do("a", anote("a")).do("b", note("b")).compile()

    async def program() -> Any:
        async with AsyncEngine(store) as engine:
            stopper = named("stop").do("s", engine.quit).compile()
            engine.register(flow, stopper)
            run = await engine.start(flow, Order(), id="one")
            forever = asyncio.create_task(engine.run_forever())
            await run.result(timeout=WAIT_S)
            engine.quit()
            await asyncio.wait_for(forever, WAIT_S)
            late = await engine.start(flow, Order())
            assert await late.status() is Status.QUEUED

    asyncio.run(program())


def test_run_forever_of_the_sync_engine_ends_when_quit_is_called_from_anywhere(store):
    flow = chain("x", "a")
    with Engine(store) as engine:
        engine.register(flow)
        thread = threading.Thread(target=engine.run_forever)
        thread.start()
        run = engine.start(flow, Order())
        assert run.result(timeout=WAIT_S).log == ["a"]
        engine.quit()
        thread.join(WAIT_S)
        assert not thread.is_alive()


def test_closing_an_engine_ends_its_worker_and_releases_claims(store):
    begun, go_on = threading.Event(), threading.Event()

    def step(order: Order) -> None:
        begun.set()
        assert go_on.wait(WAIT_S)
        order.log.append("done")

    flow = named("x", Order).do("a", step).do("b", note("b")).compile()
    with ExitStack() as asked, Engine(store) as engine:
        engine.register(flow)
        engine.start(flow, Order(), id="one")
        thread = threading.Thread(target=engine.run_forever)
        thread.start()
        assert begun.wait(WAIT_S)
        asked.enter_context(heard("asked to stop: 1 run(s)", then=go_on.set))
    thread.join(WAIT_S)
    assert not thread.is_alive()
    with Engine(store) as engine:
        info = engine.get("one").info()
        assert (info.status, info.position, info.crashes) == (Status.QUEUED, ["completed:x/a"], 0)


@pytest.mark.parametrize("style", ["sync", "async"])
def test_several_engines_share_the_work_and_no_step_is_done_twice(store, style):
    done: list[str] = []

    def step(order: Order) -> None:
        done.append(f"{current().run_id}/{current().step}")

    async def astep(order: Order) -> None:
        step(order)
        await asyncio.sleep(0)

    each = astep if style == "async" else step
    flow = named("x", Order).do("a", each).do("b", each).do("c", each).compile()
    with Engine(store, concurrency=4) as one, Engine(store, concurrency=4) as two, Engine(store) as client:
        one.register(flow)
        two.register(flow)
        with one.worker(), two.worker():
            runs = [client.start(flow, Order(), id=f"run-{n}") for n in range(40)]
            for run in runs:
                run.result(timeout=WAIT_S)
    assert sorted(done) == sorted(f"run-{n}/{step}" for n in range(40) for step in "abc")


def test_virtual_time_works_in_the_background_too(store, clock):
    flow = named("x", Order).wait_for("w", lambda: clock.monotonic() >= 20, every=7).do("b", note("b")).compile()
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        with engine.worker():
            run = engine.start(flow, Order())
            while clock.monotonic() < 21:  # the poll at 21 is the first that succeeds
                clock.advance(7)
            assert run.result(timeout=WAIT_S).log == ["b"]


@pytest.mark.parametrize("style", ["sync", "async", "mixed"])
def test_a_step_that_hangs_loses_its_claim_and_its_late_write_is_refused(store, style):
    clock, hung, go_on, late = ManualClock(), threading.Event(), threading.Event(), threading.Event()
    calls: list[int] = []

    def stuck(order: Order) -> None:
        calls.append(1)
        if len(calls) == 1:
            hung.set()
            assert go_on.wait(WAIT_S)
            late.set()
            order.log.append("late")
        order.log.append(f"attempt {current().attempt}")

    async def astuck(order: Order) -> None:
        if calls:
            stuck(order)
        else:
            calls.append(1)
            hung.set()
            await asyncio.Event().wait()

    async def nop(_order: Order) -> None:
        return

    after = named("x", Order).do("stuck", astuck if style == "async" else stuck).do("after", note("after"))
    compiled = (after.do("nop", nop) if style == "mixed" else after).compile(hung_after=60)
    with Engine(store, clock=clock) as engine:
        engine.register(compiled)
        with engine.worker():
            run = engine.start(compiled, Order(), id="one")
            assert hung.wait(WAIT_S)
            clock.leap(61)
            log = run.result(timeout=WAIT_S).log
            go_on.set()
            if style != "async":
                assert late.wait(WAIT_S)
    assert "late" not in log
    assert log[-2:] == ["attempt 2", "after"]


def test_a_step_that_hangs_again_and_again_is_quarantined(store):
    clock, hangs = ManualClock(), threading.Semaphore(0)

    async def stuck() -> None:
        hangs.release()
        await asyncio.Event().wait()

    flow = named("x").do("stuck", stuck).compile(hung_after=60, max_crashes=2)
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        with engine.worker():
            run = engine.start(flow, id="one")
            for _ in range(2):
                assert hangs.acquire(timeout=WAIT_S)
                clock.leap(61)
            with pytest.raises(Exception, match="Crashed"):
                run.result(timeout=WAIT_S)


def test_without_hung_after_a_step_may_take_hours(store):
    clock, begun, go_on = ManualClock(), threading.Event(), threading.Event()

    def slow(order: Order) -> None:
        begun.set()
        assert go_on.wait(WAIT_S)
        order.log.append("slow")

    flow = named("x", Order).do("slow", slow).compile()
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        with engine.worker():
            run = engine.start(flow, Order())
            assert begun.wait(WAIT_S)
            clock.leap(36_000)
            assert run.status() is Status.RUNNING
            go_on.set()
            assert run.result(timeout=WAIT_S).log == ["slow"]


def test_each_authoring_style_has_an_attempt(store):
    with Engine(store) as engine:
        styles = engine._engine._session.worker._styles
    kinds = {style.kind for style in (StepFlow, FlowFunction, Workflow, TopicFlow, HostFlow)}
    assert set(styles) == kinds | {UNREADABLE}
    assert set(Flow.__subclasses__()) == {StepFlow, FlowFunction, Workflow, TopicFlow, HostFlow}


@pytest.mark.parametrize("timeout", [None, 3600])
def test_an_event_that_came_while_the_step_before_its_wait_ran_is_taken_when_that_ends(store, timeout, monkeypatch):
    """Nothing tells of it then but the end of the claim: the store says that no other look is needed for an hour."""
    begun, go_on, looks = threading.Event(), threading.Event(), list[int]()

    def first(order: Order) -> None:
        begun.set()
        assert go_on.wait(WAIT_S)

    def trusting(kind: type[Store]) -> None:
        asked = kind.next_due

        def next_due(self: Store, flows: Mapping[str, str], now: int) -> DueSummary:
            looks.append(now)
            return evolve(asked(self, flows, now), trusted_s=3600.0)

        monkeypatch.setattr(kind, "next_due", next_due)

    with closing(store.connect("", Owner("asked", "host", 1), 0)) as session:
        trusting(type(session))
    flow = (
        named("x", Order).do("first", first).wait_event("w", "paid", int, lambda o, p: None, timeout=timeout).compile()
    )
    with Engine(store) as engine, Engine(store) as other:
        engine.register(flow)
        with engine.worker():
            run = engine.start(flow, Order())
            assert begun.wait(WAIT_S)
            before = len(looks)
            other.get(run.id).publish("paid", 1)
            eventually(lambda: len(looks) > before)  # the worker has heard of it
            go_on.set()
            assert run.result(timeout=WAIT_S) == Order()
