"""A wall clock that is set forward or back: nothing is lost, nothing runs before its time by the new clock."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from stepflow import Engine, Status, named
from stepflow.engine.clock import moment
from stepflow.testing import VirtualClock
from tests.engine.clocks import ManualClock
from tests.engine.flows import Order, chain, note

WAIT_S = 60.0


def test_forward_makes_timers_due(engine, clock):
    flow = chain("x", "a")
    engine.register(flow)
    run = engine.start(flow, Order(), at=clock.datetime() + timedelta(hours=5))
    clock.jump(timedelta(hours=6))
    assert run.status() is Status.QUEUED
    assert engine.run_until_idle().completed == 1


def test_back_makes_timers_wait_and_later_they_fire(engine, clock):
    flow = chain("x", "a")
    engine.register(flow)
    due = clock.datetime() + timedelta(hours=1)
    run = engine.start(flow, Order(), at=due)
    clock.jump(timedelta(hours=2))
    clock.jump(timedelta(hours=-3))
    assert engine.run_until_idle().completed == 0
    assert (run.status(), run.info().due) == (Status.SLEEPING, due)
    clock.advance(timedelta(hours=2))
    assert engine.run_until_idle().completed == 1
    assert clock.datetime() == due


def test_a_jump_back_between_two_steps_keeps_the_order_of_revisions(engine, clock):
    flow = named("x", Order).do("a", note("a")).do("b", lambda: clock.jump(-3600)).do("c", note("c")).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    assert engine.run_until_idle().completed == 1 or engine.run_until_idle(advance=True).completed == 1
    revs = [entry.rev for entry in run.history()]
    assert revs == sorted(revs)
    assert run.result().log == ["a", "c"]


def test_a_run_started_before_the_jump_back_is_not_lost(engine, clock):
    flow = chain("x", "a")
    engine.register(flow)
    run = engine.start(flow, Order())
    clock.jump(-3600)
    assert run.status() is Status.SLEEPING  # due at a time that is to come again
    assert engine.run_until_idle(advance=True).completed == 1


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_jumps_kill_no_owner(store, clock, seconds):
    flow = chain("x", "a")
    other = VirtualClock()
    with Engine(store, clock=clock) as one, Engine(store, clock=other) as two:
        one.register(flow)
        two.register(flow)
        one.run_until_idle()
        two.run_until_idle()
        clock.jump(seconds)
        one.start(flow, Order())
        one.run_until_idle(advance=True)
        assert one.tally() == {"x": {"completed": 1}}
        assert all(run.crashes == 0 for run in one.runs())


@pytest.mark.parametrize("seconds", [86_400, -86_400])
def test_a_real_worker_continues_after_a_jump(store, seconds):
    clock, begun, go_on = ManualClock(), threading.Event(), threading.Event()

    def step(order: Order) -> None:
        begun.set()
        assert go_on.wait(WAIT_S)
        order.log.append("a")

    flow = named("x", Order).do("a", step).do("b", note("b")).compile()
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        with engine.worker():
            first = engine.start(flow, Order())
            assert begun.wait(WAIT_S)
            clock.jump(seconds)
            go_on.set()
            assert first.result(timeout=WAIT_S).log == ["a", "b"]
            assert engine.start(flow, Order()).result(timeout=WAIT_S).log == ["a", "b"]


def test_a_real_worker_notices_that_a_timer_became_due_by_a_jump(store):
    clock = ManualClock()
    flow = chain("x", "a")
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        with engine.worker():
            run = engine.start(flow, Order(), at=moment(clock.now()) + timedelta(hours=1))
            engine.start(flow, Order()).result(timeout=WAIT_S)
            assert run.status() is Status.SLEEPING
            clock.jump(3601)
            assert run.result(timeout=WAIT_S).log == ["a"]
