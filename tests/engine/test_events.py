"""Events: received once and in order, kept until a wait, idempotent by id, with timeouts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from attrs import frozen

from stepflow import (
    AsyncEngine,
    CodecError,
    Engine,
    RetryPolicy,
    RunEnded,
    RunFailed,
    Status,
    StepflowError,
    Steps,
    named,
)
from tests.engine.flows import Broken, Order, positions


@frozen
class Payment:
    cents: int
    note: str = ""


def take(order: Order, payload: Any) -> None:
    order.log.append(f"got {payload}")


def wait_flow(count: int = 1, name: str = "x", **options: Any) -> Any:
    chain = named(name, Order)
    for n in range(count):
        chain = chain.wait_event(f"w{n}", "paid", int, take, **options)
    return chain.compile()


@pytest.fixture
def waiting(engine: Engine) -> Any:
    flow = wait_flow()
    engine.register(flow)
    run = engine.start(flow, Order(), id="one")
    engine.run_until_idle()
    return run


def test_a_published_event_ends_the_wait(engine, waiting):
    waiting.publish("paid", 5)
    assert waiting.status() is Status.QUEUED
    assert engine.run_until_idle().completed == 1
    assert waiting.result().log == ["got 5"]
    assert positions(waiting) == ["start:x", "completed:x"]


def test_other_events_leave_it_waiting(engine, waiting):
    waiting.publish("refunded", 5)
    engine.run_until_idle()
    assert waiting.status() is Status.WAITING


@pytest.mark.parametrize("real", [False, True])
def test_events_are_taken_once_and_in_order_also_those_published_early(store, clock, real):
    flow = wait_flow(5)
    with Engine(store, clock=None if real else clock) as engine:
        engine.register(flow)
        run = engine.start(flow, Order())
        for n in range(3):
            run.publish("paid", n)
        engine.run_until_idle()
        assert run.status() is Status.WAITING
        run.publish("paid", 3)
        engine.run_until_idle()
        run.publish("paid", 4)
        assert engine.run_until_idle().completed == 1
        assert run.result().log == [f"got {n}" for n in range(5)]


def test_names_do_not_mix(engine):
    flow = named("x", Order).wait_event("a", "b", int, take).wait_event("c", "a", int, take).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    run.publish("a", 1)
    run.publish("b", 2)
    engine.run_until_idle()
    assert run.result().log == ["got 2", "got 1"]


def test_latch_receives_the_newest_and_drops_the_older_ones(engine):
    chain = named("x", Order).wait_event("a", "paid", int, take, latch=True).wait_event("b", "paid", int, take)
    flow = chain.compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    for n in range(3):
        run.publish("paid", n)
    engine.run_until_idle()
    assert (run.status(), run.exchange().log) == (Status.WAITING, ["got 2"])


def test_the_same_publish_id_twice_is_one_event(engine):
    flow = wait_flow(2)
    engine.register(flow)
    run = engine.start(flow, Order())
    run.publish("paid", 1, id="evt")
    run.publish("paid", 2, id="evt")
    engine.run_until_idle()
    assert (run.status(), run.exchange().log) == (Status.WAITING, ["got 1"])
    run.publish("paid", 3, id="evt")  # also after it was consumed
    engine.run_until_idle()
    assert run.status() is Status.WAITING
    run.publish("paid", 4, id="other")
    assert engine.run_until_idle().completed == 1
    assert run.result().log == ["got 1", "got 4"]


def test_two_runs_may_have_events_with_the_same_id(engine):
    flow = wait_flow()
    engine.register(flow)
    runs = [engine.start(flow, Order()) for _ in range(2)]
    for run in runs:
        run.publish("paid", 1, id="evt")
    assert engine.run_until_idle().completed == 2


def test_an_event_is_restored_as_its_type(engine):
    seen: list[Any] = []
    flow = named("x", Order).wait_event("a", "paid", Payment, lambda _o, p: seen.append(p)).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    run.publish("paid", Payment(5, "ü✓"))
    engine.run_until_idle()
    assert seen == [Payment(5, "ü✓")]
    run = engine.start(flow, Order())
    run.publish("paid", {"cents": 6})
    engine.run_until_idle()
    assert seen[1:] == [Payment(6)]


@pytest.mark.parametrize("payload", [None, 0, "", [], {}, False])
def test_empty_payloads_are_payloads(engine, payload):
    seen: list[Any] = []
    flow = named("x", Order).wait_event("a", "paid", Any, lambda _o, p: seen.append(p)).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    run.publish("paid", payload)
    engine.run_until_idle()
    assert seen == [payload]


def test_a_wrong_payload_fails_the_wait_and_is_used_up(engine, waiting):
    waiting.publish("paid", "five", id="evt-1")
    engine.run_until_idle()
    with pytest.raises(RunFailed, match=r"event 'paid' \(id 'evt-1'\): the stored value does not fit int"):
        waiting.result()
    waiting.redrive()
    engine.run_until_idle()
    assert (waiting.status(), waiting.info().waiting_for) == (Status.WAITING, "event:paid")
    waiting.publish("paid", 5)
    assert engine.run_until_idle().completed == 1


def test_a_retry_after_a_wrong_payload_waits_for_the_next(engine):
    wait = Steps(Order).wait_event("w", "paid", int, take)
    flow = named("x", Order).retry("r", lambda _e: True, wait).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    run.publish("paid", "five")
    engine.run_until_idle()
    assert run.status() is Status.WAITING
    run.publish("paid", 5)
    engine.run_until_idle()
    assert run.result().log == ["got 5"]


@pytest.mark.parametrize("how", ["group", "run", "redrive"])
def test_an_event_whose_function_raised_is_kept_for_the_next_try(engine, how):
    tries: list[int] = []

    def fragile(order: Order, payload: int) -> None:
        tries.append(payload)
        if len(tries) == 1:
            raise Broken("no")
        take(order, payload)

    policy = RetryPolicy(delay=5, jitter=0)
    wait = Steps(Order).wait_event("w", "paid", int, fragile)
    chain = named("x", Order).retry("r", policy, wait) if how == "group" else named("x", Order).steps("s", wait)
    flow = chain.compile(retry=policy if how == "run" else None)
    engine.register(flow)
    run = engine.start(flow, Order())
    run.publish("paid", 5)
    engine.run_until_idle(advance=True)
    if how == "redrive":
        assert run.status() is Status.FAILED
        run.redrive()
        engine.run_until_idle()
    assert (run.result().log, tries) == (["got 5"], [5, 5])


def test_an_event_is_not_lost_when_its_function_spoils_the_exchange(engine):
    spoil = [True]

    def spoiling(exchange: Any, payload: int) -> None:
        exchange["got"] = object() if spoil.pop() else payload

    flow = named("x").wait_event("w", "paid", int, spoiling).compile()
    engine.register(flow)
    run = engine.start(flow, {})
    run.publish("paid", 5)
    engine.run_until_idle()
    assert run.status() is Status.FAILED
    spoil.append(False)
    run.redrive()
    engine.run_until_idle()
    assert run.result() == {"got": 5}


def test_publishing_to_an_ended_run_is_refused_and_changes_nothing(engine, waiting):
    waiting.publish("paid", 5, id="first")
    engine.run_until_idle()
    revisions = len(waiting.history())
    with pytest.raises(RunEnded, match="run 'one' has ended, it is completed; event 'paid' was not stored") as refused:
        waiting.publish("paid", 6)
    assert refused.value.status == "completed"
    waiting.publish("paid", 5, id="first")  # delivered a second time: it was stored before
    assert engine.run_until_idle().completed == 0
    assert (waiting.status(), len(waiting.history())) == (Status.COMPLETED, revisions)


def test_one_message_may_be_two_events(engine):
    flow = named("two", Order).wait_event("a", "paid", int, take).wait_event("b", "address", str, take).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    run.publish("paid", 5, id="message-7")
    run.publish("address", "Bonn", id="message-7")
    run.publish("address", "Rome", id="message-7")
    engine.run_until_idle()
    assert run.result().log == ["got 5", "got Bonn"]


def test_a_payload_of_another_type_fails_the_run_with_a_public_error_and_a_redrive_waits_again(engine, waiting):
    waiting.publish("paid", "five")
    engine.run_until_idle()
    error = waiting.info().error
    assert (error.type, "expected int, found 'five'" in error.message) == ("CodecError", True)
    waiting.publish("paid", 5)
    waiting.redrive()
    engine.run_until_idle()
    assert waiting.result().log == ["got 5"]


@pytest.mark.parametrize(
    ("name", "payload", "told"),
    [
        ("payd", 5, "event 'payd' is published, but flow 'x' waits for no event of this name, it waits for 'paid'"),
        (
            "paid",
            "five",
            "event 'paid' is published, but the wait x/w0 cannot take it: the stored value does not fit int",
        ),
    ],
)
def test_an_event_that_no_wait_of_the_flow_takes_is_told(engine, waiting, caplog, name, payload, told):
    waiting.publish(name, payload)
    assert told in caplog.text
    caplog.clear()
    engine.get("one").publish(name, payload)  # this handle does not know the flow
    assert not caplog.text


def test_a_publish_from_inside_of_the_run_is_not_missed(store):
    handles: list[Any] = []

    async def publish(_order: Order) -> None:
        await handles[0].publish("paid", 5)

    flow = named("x", Order).do("p", publish).wait_event("w", "paid", int, take).compile()

    async def go() -> list[str]:
        async with AsyncEngine(store) as engine:
            engine.register(flow)
            handles.append(await engine.start(flow, Order()))
            assert (await engine.run_until_idle()).completed == 1
            return (await handles[0].result()).log

    assert asyncio.run(go()) == ["got 5"]


@pytest.mark.parametrize("name", ["", None, 5])
def test_an_event_needs_a_name(engine, waiting, name):
    with pytest.raises(StepflowError, match="give the event's name, a non-empty text"):
        waiting.publish(name, 5)


@pytest.mark.parametrize("event_id", [5, "", b"x"])
def test_a_publish_id_is_a_text(engine, waiting, event_id):
    with pytest.raises(StepflowError, match=r"id=.*give a non-empty text"):
        waiting.publish("paid", 5, id=event_id)


def test_a_payload_that_cannot_be_stored_is_refused(engine, waiting):
    with pytest.raises(CodecError, match="object"):
        waiting.publish("paid", object())
    with pytest.raises(CodecError, match="set is not a JSON type"):
        waiting.publish("paid", {"x": {1}})
    engine.run_until_idle()
    assert waiting.status() is Status.WAITING
