"""Deploys: waiting runs follow the definition that a worker registered last, whatever their wait became."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest

from stepflow import Engine, Limit, Status, StepflowError, Unavailable, named
from stepflow.engine.worker.redefinition import Redefinition
from stepflow.testing import VirtualClock
from tests.engine.flows import Order, note

BASE: Any = named("x", Order).do("a", note("a"))
DAY = timedelta(days=1)


def take(order: Order, payload: str) -> None:
    order.log.append(payload)


def event(name: str = "old", **options: Any) -> Any:
    return BASE.wait_event("w", name, str, take, **options).do("end", note("end")).compile()


def begun(store: Any, clock: Any, flow: Any, **options: Any) -> None:
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        engine.start(flow, Order(), id="one", **options)
        engine.run_until_idle()


OLD = {"without a limit": event(), "with a limit": event(timeout=30 * DAY)}


@pytest.mark.parametrize("old", OLD)
def test_a_renamed_event(store, clock, old):
    begun(store, clock, OLD[old], priority=7)
    with Engine(store, clock=clock) as engine:
        engine.register(event("new"))
        run = engine.get("one")
        run.publish("new", "Ada")  # before a worker looks
        engine.run_until_idle()
        assert (run.status(), engine.get(event("new"), "one").result().log) == ("completed", ["a", "Ada", "end"])


@pytest.mark.parametrize("real", [False, True])
def test_a_renamed_event_is_noticed_before_its_publish(store, clock, real):
    begun(store, clock, event(), priority=7)
    with Engine(store, clock=None if real else clock) as engine:
        engine.register(event("new"))
        run = engine.get("one")
        engine.run_until_idle()
        assert (run.status(), run.info().waiting_for) == (Status.WAITING, "event:new")
        run.publish("old", "nothing")
        engine.run_until_idle()
        assert run.status() is Status.WAITING
        run.publish("new", "Ada")
        assert run.info().priority == 7
        assert engine.run_until_idle().completed == 1


@pytest.mark.parametrize("old", OLD)
def test_a_removed_wait(store, clock, old):
    begun(store, clock, OLD[old])
    with Engine(store, clock=clock) as engine:
        engine.register(BASE.do("end", note("end")).compile())
        assert engine.run_until_idle().completed == 1


@pytest.mark.parametrize("old", OLD)
def test_a_wait_that_became_a_poll(store, clock, old):
    begun(store, clock, OLD[old])
    with Engine(store, clock=clock) as engine:
        engine.register(
            BASE.wait_for("p", lambda order: order.log.append("p") or len(order.log) > 2, every=5).compile()
        )
        engine.run_until_idle()
        assert engine.get("one").info().waiting_for == "poll"
        assert engine.run_until_idle(advance=True).completed == 1


def test_a_poll_that_became_an_event(store, clock):
    begun(store, clock, BASE.wait_for("p", lambda: False, every=5).compile())
    with Engine(store, clock=clock) as engine:
        engine.register(event())
        engine.run_until_idle(advance=True)
        assert engine.get("one").info().waiting_for == "event:old"


def test_a_limit_that_is_new_begins_when_a_worker_registers_it(store, clock):
    begun(store, clock, event())
    clock.advance(100 * DAY)
    with Engine(store, clock=clock) as engine:
        engine.register(event(timeout=DAY))
        engine.run_until_idle()
        assert engine.get("one").info().deadline == clock.datetime() + DAY
        assert engine.run_until_idle(advance=True).failed == 1


def test_a_limit_that_is_gone_is_over_also_in_the_past(store, clock):
    begun(store, clock, event(timeout=DAY))
    clock.advance(2 * DAY)
    with Engine(store, clock=clock) as engine:
        engine.register(event())
        engine.run_until_idle()
        info = engine.get("one").info()
        assert (info.status, info.deadline, info.due) == (Status.WAITING, None, None)


def test_another_limit_keeps_the_deadline_with_which_the_wait_began(store, clock):
    begun(store, clock, event(timeout=DAY))
    with Engine(store, clock=clock) as engine:
        before = engine.get("one").info()
        engine.register(event(timeout=2 * DAY))
        engine.run_until_idle()
        after = engine.get("one").info()
        assert (after.deadline, after.rev) == (before.deadline, before.rev)


def test_an_unknown_position_is_blocked_although_nothing_is_due(store, clock):
    begun(store, clock, event())
    with Engine(store, clock=clock) as engine:
        engine.register(named("x", Order).do("b", note("b")).compile())
        engine.run_until_idle()
        assert engine.get("one").status() is Status.BLOCKED
    with Engine(store, clock=clock) as engine:
        engine.register(event())
        engine.run_until_idle(advance=True)
        assert engine.get("one").status() is Status.WAITING


def test_the_same_wait_is_left_alone(store, clock):
    begun(store, clock, event())
    with Engine(store, clock=clock) as engine:
        engine.register(event())
        rev = engine.get("one").info().rev
        engine.run_until_idle()
        assert engine.get("one").info().rev == rev


def test_a_worker_follows_while_it_is_busy_and_for_many_runs(store):
    with Engine(store, concurrency=4) as engine:
        engine.register(event())
        engine.start_many(event(), [(f"run-{n}", Order()) for n in range(600)], limits=Limit("key", 3))
        engine.run_until_idle()
    with Engine(store, concurrency=4) as engine:
        flow = BASE.do("end", note("end")).compile()
        engine.register(flow)
        with engine.worker():
            for n in range(0, 600, 100):
                assert engine.get(flow, f"run-{n}").result(timeout=60).log == ["a", "end"]
        engine.run_until_idle()
        assert engine.tally() == {"x": {"completed": 600}}


def test_redrive_lets_a_worker_look_at_a_waiting_run(store, clock):
    begun(store, clock, event())
    with Engine(store, clock=clock) as engine:
        run = engine.get("one")
        run.redrive()
        assert run.status() is Status.QUEUED
        engine.register(event())
        engine.run_until_idle()
        assert run.status() is Status.WAITING
        run.cancel()
        with pytest.raises(StepflowError, match="only a failed, blocked or waiting run"):
            run.redrive()


def test_a_search_whose_reads_fail_is_logged_once_until_it_works_again(caplog):
    caplog.set_level(logging.INFO, "stepflow")
    reads: list[Any] = []

    class Reader:
        async def read(self, query: Any) -> list[Any]:
            reads.append(query.flow)
            if len(reads) in (1, 2, 3, 5):
                raise Unavailable("the server cannot be reached")
            return []

    pauses: list[float] = []

    async def sleep(pause_s: float) -> None:
        pauses.append(pause_s)

    flows = {"x": event(), "y": named("y", Order).wait_event("w", "old", str, take).compile()}
    search = Redefinition(Reader(), None, None, VirtualClock(), flows)  # type: ignore[arg-type]
    asyncio.run(search.guard.run_task(search._turn, sleep))
    assert reads == ["x", "x", "x", "x", "y", "y"], "a flow that was looked through is not looked through again"
    assert pauses == [0.1, 0.2, 0.4, 0.1]
    assert [record.getMessage().partition(" (1 in")[0] for record in caplog.records] == [
        "waits failed", "waits works again after 3 failure(s)", "waits failed", "waits works again after 1 failure(s)",
    ]  # fmt: skip
