"""The log of a worker: each failed, retried, blocked and taken-over run once, with its id, its step and the traceback."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from stepflow import Context, Engine, RetryPolicy, StateCtx, Steps, flow, named, workflow
from tests.engine.flows import Broken, Flaky, Order, chain, note

NAMES = ("event", "run_id", "flow", "step", "attempt")


@pytest.fixture
def told(caplog):
    """What was logged about runs so far: one tuple of NAMES for each record."""

    def records() -> list[tuple[Any, ...]]:
        found = [record for record in caplog.records if hasattr(record, "run_id")]
        return [tuple(getattr(record, name) for name in NAMES) for record in found]

    caplog.set_level(logging.INFO, "stepflow")
    return records


async def _aflaky(order: Order) -> None:
    raise Broken("async")


def test_a_failed_run_is_logged_once_with_the_traceback(engine, told, caplog):
    order = named("order", Order).do("charge", Flaky(1)).compile()
    engine.register(order)
    engine.start(order, Order(), id="one")
    engine.run_until_idle()
    assert told() == [("failed", "one", "order", "charge", 1)]
    (record,) = [r for r in caplog.records if hasattr(r, "run_id")]
    assert record.levelno == logging.ERROR
    assert record.exc_info[0] is Broken
    assert "run one of flow order failed at charge: Broken: call 1" in record.getMessage()


def test_what_is_logged_can_be_written_as_utf_8_whatever_the_message(engine, told, caplog):
    def charge(order: Order) -> None:
        raise Broken("half \ud800")

    order = named("order", Order).do("charge", charge).compile(retry=RetryPolicy(2, delay=1.0))
    engine.register(order)
    engine.start(order, Order(), id="one")
    engine.run_until_idle(advance=True)
    assert [event for event, *_names in told()] == ["retried", "failed"]
    for record in caplog.records:
        text = logging.Formatter().format(record)
        assert r"half \ud800" in text
        assert "in charge" in text
        text.encode()


@pytest.mark.parametrize("retries_of", ["group", "run"])
def test_each_retry_is_logged_once_and_then_the_failure(engine, told, retries_of):
    policy = RetryPolicy(3, delay=1.0)
    if retries_of == "group":
        order = named("order", Order).retry("r", policy, Steps().do("charge", Flaky(9))).compile()
        step = "rRetry/charge"
    else:
        order, step = named("order", Order).do("charge", Flaky(9)).compile(retry=policy), "charge"
    engine.register(order)
    engine.start(order, Order(), id="one")
    engine.run_until_idle(advance=True)
    assert told() == [
        ("retried", "one", "order", step, 1),
        ("retried", "one", "order", step, 2),
        ("failed", "one", "order", step, 3),
    ]


def test_what_cannot_be_stored_is_logged_as_a_failure(engine, told, caplog):
    flow_ = named("order", dict).do("a", lambda d: d.update(x=object())).compile()
    engine.register(flow_)
    engine.start(flow_, {}, id="one")
    engine.run_until_idle()
    assert [one[0] for one in told()] == ["failed"]
    assert "CodecError" in caplog.text


def test_async_steps_and_base_exceptions_are_logged_too(engine, told):
    aflow = named("a", Order).do("x", _aflaky).compile()
    exits = named("b", Order).do("x", Flaky(1, SystemExit)).compile()
    engine.register(aflow, exits)
    engine.start(aflow, Order(), id="one")
    engine.start(exits, Order(), id="two")
    engine.run_until_idle()
    assert told() == [("failed", "one", "a", "x", 1), ("failed", "two", "b", "x", 1)]


def test_flow_functions_are_logged_too(engine, told):
    @flow("f", retry=RetryPolicy(2, delay=1.0))
    def f(ctx: StateCtx) -> Any:
        raise Broken("f")

    engine.register(f)
    engine.start(f, id="one")
    engine.run_until_idle(advance=True)
    assert told() == [("retried", "one", "f", "f", 1), ("failed", "one", "f", "f", 2)]


def test_a_blocked_run_is_logged_and_counted(store, clock, told, caplog):
    with Engine(store, clock=clock) as old:
        old.start(chain("order", "a"), Order(), id="one")
    with Engine(store, clock=clock) as new:
        new.register(named("order", int).do("b", lambda n: None).compile())
        for _ in range(2):
            assert new.run_until_idle().blocked == 1
    assert [one[:3] for one in told()] == [("blocked", "one", "order")]
    assert "run one of flow order is blocked at start:order: " in caplog.text


def test_a_blocked_run_of_another_flow_is_not_counted(store, clock):
    with Engine(store, clock=clock) as old:
        old.start(chain("order", "a"), Order(), id="one")
        old.start(chain("other", "a"), Order(), id="two")
    with Engine(store, clock=clock) as new:
        new.register(named("order", int).do("b", lambda n: None).compile())
        new.run_until_idle()
    with Engine(store, clock=clock) as third:
        third.register(chain("other", "a"))
        idle = third.run_until_idle()
    assert (idle.completed, idle.blocked) == (1, 0)


def test_a_run_whose_owner_died_is_logged_as_taken_over(store, clock, session, told):
    order = chain("order", "a")
    with Engine(store, clock=clock) as engine:
        engine.start(order, Order(), id="one")
    victim = session("victim")
    assert len(victim.claim({"order": order.definition}, clock.now(), 1)) == 1
    other = session("other")
    other.beat(clock.now(), ["victim"])
    with Engine(store, clock=clock) as engine:
        engine.register(order)
        engine.run_until_idle()
    assert [one[:4] for one in told()] == [("taken_over", "one", "order", "start:order")]


def test_a_claim_that_was_lost_before_its_release_is_logged(store, clock, session, told):
    def ready(order: Order) -> bool:
        other = session("other")
        owners = [peer.owner.id for peer in other.beat(clock.now()).peers]
        other.beat(clock.now(), owners)
        assert len(other.claim({"order": order_flow.definition}, clock.now(), 1)) == 1
        return False

    order_flow = named("order", Order).wait_for("paid", ready, every=1).compile()
    with Engine(store, clock=clock) as engine:
        engine.register(order_flow)
        engine.start(order_flow, Order(), id="one")
        engine.run_until_idle()
        assert [one[:3] for one in told()] == [("lost", "one", "order")]


def test_a_workflow_is_logged_by_the_key_of_the_step_that_failed(engine, told):
    fails = Flaky(9)

    def charge() -> None:
        fails(Order())

    @workflow("pay", retry=RetryPolicy(2, delay=1.0))
    def pay(wf: Context) -> None:
        wf.sleep("pause", 1)
        wf.execute("charge", charge, retry=RetryPolicy(2, delay=1.0))

    engine.register(pay)
    engine.start(pay, id="one")
    engine.run_until_idle(advance=True)
    retried = ("retried", "one", "pay", "charge")
    assert [one[:4] for one in told()] == [retried, retried, retried, ("failed", "one", "pay", "charge")]


def test_the_log_of_a_failed_step_of_a_workflow_begins_with_the_error_then_its_traceback(engine, told, caplog):
    def charge() -> None:
        raise Broken("card expired")

    @workflow("pay")
    def pay(wf: Context) -> None:
        wf.execute("charge", charge)

    engine.register(pay)
    engine.start(pay, id="one")
    engine.run_until_idle()
    (record,) = [r for r in caplog.records if hasattr(r, "run_id")]
    message, heading, *frames = logging.Formatter().format(record).splitlines()
    assert message == "run one of flow pay failed at charge: Broken: card expired"
    assert heading.strip() == "Traceback (most recent call last):"
    assert "in charge" in frames[0]
    assert not any("StepTraceback" in line for line in frames)


def test_completed_runs_are_not_logged(engine, told):
    order = chain("order", "a", "b")
    engine.register(order)
    engine.start(order, Order(), id="one")
    engine.run_until_idle()
    assert told() == []


def test_the_exception_of_a_handled_retry_is_not_logged_again(engine, told):
    order = named("order", Order).retry("r", RetryPolicy(3), Steps().do("a", Flaky(1)).do("b", note("b"))).compile()
    engine.register(order)
    engine.start(order, Order(), id="one")
    engine.run_until_idle(advance=True)
    assert told() == [("retried", "one", "order", "rRetry/a", 1)]


def returns_another(order: Order) -> Order:
    return Order()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (named("x", Order).wait_event("paid", "paid", str, note("paid"), timeout=60), "no event 'paid' within 1 min"),
        (named("x", Order).do("pay", returns_another), "the function returned another Order"),  # type: ignore[arg-type]
        (named("x", Order).wait_event("paid", "paid", int, note("paid")), "expected int, found 'a'"),
    ],
)
def test_an_error_of_the_library_is_one_line(engine, caplog, given, why):
    engine.register(flow := given.compile())
    run = engine.start(flow, Order(), id="one")
    engine.run_until_idle()
    if "found 'a'" in why:
        run.publish("paid", "a")
    engine.run_until_idle(advance=True)
    (record,) = [r for r in caplog.records if getattr(r, "event", "") == "failed"]
    text = logging.Formatter().format(record)
    assert why in text
    assert "Traceback" not in text
