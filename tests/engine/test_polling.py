"""Polls: no revision while nothing changes, the next check at its time, timeouts that survive restarts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from stepflow import Engine, RetryPolicy, RunFailed, Status, Steps, named
from tests.engine.flows import Broken, Order, note, positions


class Gate:
    """A condition that is true from call number `after` on."""

    def __init__(self, after: int) -> None:
        self.after, self.calls = after, 0

    def __call__(self) -> bool:
        self.calls += 1
        return self.calls >= self.after


def poll_flow(gate: Any, **options: Any) -> Any:
    return named("x", Order).do("a", note("a")).wait_for("ready", gate, **options).do("b", note("b")).compile()


def test_a_poll_that_changed_nothing_makes_no_revision(engine, clock):
    gate = Gate(4)
    flow = poll_flow(gate, every=5)
    engine.register(flow)
    run = engine.start(flow, Order())
    idle = engine.run_until_idle()
    assert idle.next_due == clock.datetime() + timedelta(seconds=5)
    rev = run.info().rev
    for calls in (2, 3):
        clock.advance(4.999)
        engine.run_until_idle()
        assert gate.calls == calls - 1
        clock.advance(0.001)
        engine.run_until_idle()
        assert (gate.calls, run.info().rev) == (calls, rev)
    assert engine.run_until_idle(advance=True).completed == 1
    assert positions(run) == ["start:x", "completed:x/a", "completed:x/readyWaitFor", "completed:x"]


def test_a_poll_that_changed_the_exchange_saves_it(engine):
    def count(order: Order) -> bool:
        order.amount += 1
        return order.amount > 3

    flow = poll_flow(count, every=5)
    engine.register(flow)
    run = engine.start(flow, Order())
    assert engine.run_until_idle(advance=True).completed == 1
    history = run.history()
    assert [(e.position[0], e.exchange["amount"]) for e in history] == [
        ("start:x", 1),
        ("completed:x/a", 1),
        ("start:x/readyWaitFor", 2),
        ("start:x/readyWaitFor", 3),
        ("completed:x/readyWaitFor", 4),
        ("completed:x", 4),
    ]
    assert [(e.at - history[0].at).total_seconds() for e in history] == [0, 0, 0, 5, 10, 10]


@pytest.mark.parametrize("first", [False, True], ids=["after a step", "as the first step"])
def test_a_poll_times_out_with_its_deadline(engine, clock, first):
    gate = Gate(99)
    flow = (
        named("x", Order).wait_for("ready", gate, every=5, timeout=12).compile()
        if first
        else poll_flow(gate, every=5, timeout=12)
    )
    engine.register(flow)
    start = clock.datetime()
    run = engine.start(flow, Order())
    idle = engine.run_until_idle(advance=True)
    assert (idle.failed, gate.calls) == (1, 4)  # at 0, 5, 10 and, as the last chance, 12
    assert clock.datetime() == start + timedelta(seconds=12)
    with pytest.raises(RunFailed, match="TimedOut: readyWaitFor: its condition did not come true within 12 s"):
        run.result()


def test_a_poll_that_is_true_at_the_last_moment_is_true(engine):
    flow = poll_flow(Gate(4), every=5, timeout=12)
    engine.register(flow)
    engine.start(flow, Order())
    assert engine.run_until_idle(advance=True).completed == 1


def test_the_timeout_of_a_first_wait_starts_with_the_run(engine, clock):
    flow = named("x", Order).wait_for("ready", Gate(99), every=5, timeout=12).compile()
    engine.register(flow)
    at = clock.datetime() + timedelta(days=1)
    run = engine.start(flow, Order(), at=at)
    assert run.info().deadline == at + timedelta(seconds=12)
    assert engine.run_until_idle(advance=True).failed == 1
    assert clock.datetime() == at + timedelta(seconds=12)


def test_the_deadline_survives_restarts(store, clock):
    flow = poll_flow(Gate(99), every=5, timeout=12)
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        engine.start(flow, Order(), id="one")
        engine.run_until_idle()
    for seconds, status in ((5, Status.WAITING), (5, Status.WAITING), (2, Status.FAILED)):
        clock.advance(seconds)
        with Engine(store, clock=clock) as engine:
            engine.register(flow)
            engine.run_until_idle()
            assert engine.get("one").status() is status


def test_a_retry_group_handles_the_timeout_and_restarts_it(engine, clock):
    gate = Gate(5)
    wait = Steps(Order).wait_for("ready", gate, every=5, timeout=8)
    flow = named("x", Order).retry("r", RetryPolicy(max_attempts=3, delay=50, jitter=0), wait).compile()
    engine.register(flow)
    start = clock.datetime()
    run = engine.start(flow, Order())
    engine.run_until_idle()
    assert run.info().deadline == start + timedelta(seconds=8)
    clock.advance(5)
    engine.run_until_idle()
    clock.advance(3)
    engine.run_until_idle()
    info = run.info()
    assert (info.status, info.attempt, info.error.type) == (Status.SLEEPING, 2, "TimedOut")
    assert info.deadline == start + timedelta(seconds=8 + 50 + 8)
    clock.advance(50)
    engine.run_until_idle()
    assert (run.status(), run.info().waiting_for, gate.calls) == (Status.WAITING, "poll", 4)
    clock.advance(5)
    assert engine.run_until_idle().completed == 1


def test_a_handler_sees_the_time_out(engine):
    seen: list[str] = []

    def again(error: Exception) -> bool:
        seen.append(type(error).__name__)
        return len(seen) < 2

    wait = Steps(Order).wait_for("ready", Gate(99), every=5, timeout=8)
    flow = named("x", Order).retry("r", again, wait).compile()
    engine.register(flow)
    engine.start(flow, Order())
    assert engine.run_until_idle(advance=True).failed == 1
    assert seen == ["TimedOut", "TimedOut"]


def test_a_redrive_restarts_the_timeout(engine, clock):
    flow = poll_flow(Gate(7), every=5, timeout=12)
    engine.register(flow)
    run = engine.start(flow, Order())
    assert engine.run_until_idle(advance=True).failed == 1
    clock.advance(1000)
    redriven = clock.datetime()
    run.redrive()
    engine.run_until_idle()
    info = run.info()
    assert (info.status, info.waiting_for) == (Status.WAITING, "poll")
    assert info.deadline == redriven + timedelta(seconds=12)
    assert engine.run_until_idle(advance=True).completed == 1


def test_a_retry_of_the_run_restarts_the_timeout(engine, clock):
    flow = named("x", Order).wait_for("ready", Gate(6), every=5, timeout=12)
    compiled = flow.compile(retry=RetryPolicy(max_attempts=2, delay=50, jitter=0))
    engine.register(compiled)
    start = clock.datetime()
    engine.start(compiled, Order())
    assert engine.run_until_idle(advance=True).completed == 1
    assert clock.datetime() == start + timedelta(seconds=12 + 50 + 5)


def test_a_retry_of_the_run_keeps_the_deadline_of_a_wait_that_continues(engine, clock):
    calls: list[int] = []

    def ready() -> bool:
        calls.append(1)
        if len(calls) == 2:
            raise Broken("poll")
        return False

    chain = named("x", Order).wait_for("ready", ready, every=5, timeout=12)
    flow = chain.compile(retry=RetryPolicy(max_attempts=2, delay=3, jitter=0))
    engine.register(flow)
    start = clock.datetime()
    run = engine.start(flow, Order())
    engine.run_until_idle()
    clock.advance(5)
    engine.run_until_idle()
    info = run.info()
    assert (info.status, info.deadline) == (Status.SLEEPING, start + timedelta(seconds=12))
    assert engine.run_until_idle(advance=True).failed == 1
    assert clock.datetime() == start + timedelta(seconds=12)


def test_a_new_definition_without_the_time_out_waits_on(store, clock):
    with Engine(store, clock=clock) as engine:
        flow = poll_flow(Gate(99), every=5, timeout=12)
        engine.register(flow)
        engine.start(flow, Order(), id="one")
        engine.run_until_idle()
    clock.advance(100)
    with Engine(store, clock=clock) as engine:
        engine.register(poll_flow(Gate(2), every=5))
        assert engine.run_until_idle(advance=True).completed == 1


def test_a_condition_that_returns_no_bool_fails(engine):
    flow = poll_flow(lambda: "yes")
    engine.register(flow)
    run = engine.start(flow, Order())
    engine.run_until_idle()
    with pytest.raises(RunFailed, match=r"returned 'yes', it must return True or False: write bool"):
        run.result()
