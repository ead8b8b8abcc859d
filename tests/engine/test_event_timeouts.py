"""Waits for events that time out: durable deadlines, retries that wait again, late events."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from stepflow import Engine, RetryPolicy, RunFailed, Status, Steps, named
from tests.engine.flows import Order, note


def take(order: Order, payload: Any) -> None:
    order.log.append(f"got {payload}")


def wait_flow(count: int = 1, name: str = "x", **options: Any) -> Any:
    chain = named(name, Order)
    for n in range(count):
        chain = chain.wait_event(f"w{n}", "paid", int, take, **options)
    return chain.compile()


@pytest.mark.parametrize("first", [True, False], ids=["as the first step", "after a step"])
def test_a_wait_times_out_durably(store, clock, first):
    chain = named("x", Order) if first else named("x", Order).do("a", note("a"))
    flow = chain.wait_event("w", "paid", int, take, timeout=timedelta(days=3)).compile()
    deadline = clock.datetime() + timedelta(days=3)
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        engine.start(flow, Order(), id="one")
        assert engine.run_until_idle().next_due == deadline
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        assert engine.run_until_idle().next_due == deadline
        assert engine.run_until_idle(advance=True).failed == 1
        assert clock.datetime() == deadline
        with pytest.raises(RunFailed, match="TimedOut: wWaitEvent: no event 'paid' within 3 d"):
            engine.get("one").result()


def test_an_event_in_the_queue_beats_a_deadline_that_has_passed(engine, clock):
    flow = wait_flow(timeout=10)
    engine.register(flow)
    run = engine.start(flow, Order())
    engine.run_until_idle()
    run.publish("paid", 5)
    clock.advance(11)
    assert engine.run_until_idle().completed == 1


def test_a_retry_group_handles_the_timeout_and_waits_again(engine, clock):
    wait = Steps(Order).wait_event("w", "paid", int, take, timeout=10)
    flow = named("x", Order).retry("r", RetryPolicy(max_attempts=2, delay=50, jitter=0), wait).compile()
    engine.register(flow)
    start = clock.datetime()
    run = engine.start(flow, Order())
    engine.run_until_idle()
    clock.advance(10)
    engine.run_until_idle()
    info = run.info()
    assert (info.error.type, info.attempt) == ("TimedOut", 2)
    assert info.deadline == start + timedelta(seconds=10 + 50 + 10)
    clock.advance(55)
    run.publish("paid", 5)
    assert engine.run_until_idle().completed == 1


def test_after_a_redrive_it_waits_again(engine, clock):
    flow = wait_flow(timeout=10)
    engine.register(flow)
    run = engine.start(flow, Order())
    assert engine.run_until_idle(advance=True).failed == 1
    clock.advance(100)
    run.redrive()
    engine.run_until_idle()
    info = run.info()
    assert (info.status, info.waiting_for) == (Status.WAITING, "event:paid")
    assert info.deadline == clock.datetime() + timedelta(seconds=10)
    run.publish("paid", 5)
    assert engine.run_until_idle().completed == 1


def test_a_failed_run_receives_a_late_event_after_its_redrive(engine):
    flow = wait_flow(timeout=10)
    engine.register(flow)
    run = engine.start(flow, Order())
    engine.run_until_idle(advance=True)
    run.publish("paid", 5)
    assert run.status() is Status.FAILED
    run.redrive()
    assert engine.run_until_idle().completed == 1


@pytest.mark.parametrize("worker_is_there", [True, False])
@pytest.mark.parametrize(("late_s", "status"), [(-1, "completed"), (0, "failed"), (1, "failed"), (86_400, "failed")])
def test_an_event_counts_if_it_was_published_before_the_deadline(engine, clock, worker_is_there, late_s, status):
    engine.register(wait_flow(timeout=3600))
    run = engine.start(wait_flow(timeout=3600), Order())
    engine.run_until_idle()
    clock.advance(3600 + late_s)
    if worker_is_there:
        engine.run_until_idle()
    run.publish("paid", 5)
    clock.advance(7200)
    engine.run_until_idle()
    assert run.status() == status


def test_a_late_event_is_left_for_the_next_wait_of_its_name(engine, clock):
    inner = Steps(Order).wait_event("w", "paid", int, take, timeout=10)
    flow = named("x", Order).retry("r", RetryPolicy(delay=0), inner).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    engine.run_until_idle()
    clock.advance(11)
    run.publish("paid", 5)
    assert engine.run_until_idle().completed == 1
    assert run.result().log == ["got 5"]
