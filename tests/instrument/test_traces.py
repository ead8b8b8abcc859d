"""The trace of a run: from the request that starts it over all attempts, whatever style it has and where its steps run."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry import trace

from stepflow import (
    AsyncContext,
    AsyncEngine,
    Context,
    Engine,
    MemoryDriver,
    RetryPolicy,
    StateCtx,
    Steps,
    StoreError,
    current,
    flow,
    named,
    park,
    transit,
    workflow,
)
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.testing import VirtualClock
from tests.engine.flows import Flaky, Order, anote, note
from tests.instrument.told import Told


def _work(number: int) -> int:
    return number + 1


async def _awork(number: int) -> int:
    return number + 1


def current_trace() -> int:
    return trace.get_current_span().get_span_context().trace_id


CHAIN = named("order", Order).do("pay", note("pay")).do("ship", anote("ship")).compile()
SYNC_CHAIN = named("order", Order).do("pay", note("pay")).do("ship", note("ship")).compile()


def requested(told: Told) -> Any:
    """The span of a request of the application."""
    return told.tracers.get_tracer("app").start_as_current_span("request")


@pytest.mark.parametrize("definition", [CHAIN, SYNC_CHAIN], ids=["async", "sync"])
def test_the_steps_of_a_chain_are_in_the_trace_of_the_request(definition, told):
    with Engine("memory://", instrument=told.instrument) as engine:
        engine.register(definition)
        with requested(told):
            engine.start(definition, Order(), id="one")
        engine.run_until_idle()
    assert told.edges() == [
        ("", "request"),
        ("attempt order", "step pay"),
        ("attempt order", "step ship"),
        ("request", "start order"),
        ("start order", "attempt order"),
    ]
    assert len(told.traces()) == 1
    attempt = told.span("attempt order")
    assert attempt.kind is trace.SpanKind.CONSUMER
    assert attempt.attributes["stepflow.run.id"] == "one"
    assert attempt.attributes["stepflow.outcome"] == "completed"
    assert told.span("start order").kind is trace.SpanKind.PRODUCER


def test_a_step_sees_its_own_span_as_the_current_one(told):
    seen: list[int] = []

    def pay(order: Order) -> None:
        with told.tracers.get_tracer("app").start_as_current_span("call the bank"):
            seen.append(current_trace())

    async def ship(order: Order) -> None:
        with told.tracers.get_tracer("app").start_as_current_span("call the carrier"):
            seen.append(current_trace())

    definition = named("order", Order).do("pay", pay).do("ship", ship).compile()
    with Engine("memory://", instrument=told.instrument) as engine:
        engine.register(definition)
        engine.start(definition, Order())
        engine.run_until_idle()
    assert told.parent(told.span("call the bank")) == "step pay"
    assert told.parent(told.span("call the carrier")) == "step ship"
    assert set(seen) == told.traces()


def test_after_an_attempt_the_context_of_the_caller_is_as_before(told, engine):
    engine.register(CHAIN)
    engine.start(CHAIN, Order())
    with requested(told) as request:
        engine.run_until_idle()
        assert trace.get_current_span() is request
    assert told.parent(told.span("attempt order")) == "start order"


def test_an_async_engine_has_the_trace_of_the_task_that_starts(told):
    async def main() -> None:
        async with AsyncEngine("memory://", instrument=told.instrument) as engine:
            engine.register(CHAIN)
            with requested(told):
                await engine.start(CHAIN, Order())
            await engine.run_until_idle()

    asyncio.run(main())
    assert told.parent(told.span("start order")) == "request"
    assert len(told.traces()) == 1


def test_a_workflow_has_a_span_for_each_call_that_was_made_and_for_its_sleep(told, engine, clock):
    @workflow("signup")
    def signup(wf: Context, number: int) -> int:
        first = wf.execute("create", _work, number)
        wf.sleep("cool off", timedelta(hours=1))
        wf.map("mails", _work, [1, 2])
        return wf.execute("welcome", _work, first)

    engine.register(signup)
    engine.start(signup, 1, id="one")
    engine.run_until_idle(advance=True)
    assert told.edges() == [
        ("", "start signup"),
        ("attempt signup", "step _work"),
        ("attempt signup", "step _work"),
        ("attempt signup", "step _work"),
        ("attempt signup", "step _work"),
        ("start signup", "attempt signup"),
        ("start signup", "attempt signup"),
        ("start signup", "sleep"),
    ]
    assert sorted(s.attributes["stepflow.step"] for s in told.spans("step _work")) == [
        "create",
        "mails[0]",
        "mails[1]",
        "welcome",
    ]
    sleep = told.span("sleep")
    assert sleep.end_time - sleep.start_time == 3600 * 10**9
    outcomes = [span.attributes["stepflow.outcome"] for span in told.spans("attempt signup")]
    assert sorted(outcomes) == ["completed", "suspended"]


def test_an_async_workflow_and_its_calls_side_by_side(told):
    @workflow("signup")
    async def signup(wf: AsyncContext, number: int) -> int:
        await wf.execute("create", _awork, number)
        await wf.gather(wf.execute("a", _awork, 1), wf.execute("b", _work, 2))
        return sum(r.value for r in await wf.map("mails", _awork, [1, 2]))

    with Engine("memory://", instrument=told.instrument) as engine:
        engine.register(signup)
        assert engine.start(signup, 1).status()
        engine.run_until_idle()
    parents = {told.parent(span) for span in told.spans() if span.name.startswith("step ")}
    keys = sorted(s.attributes["stepflow.step"] for s in told.spans() if s.name.startswith("step "))
    assert parents == {"attempt signup"}
    assert keys == ["a", "b", "create", "mails[0]", "mails[1]"]
    assert len(told.traces()) == 1


def test_the_attempt_that_a_pause_ends(told):
    store = MemoryDriver()
    with Engine(store, instrument=told.instrument, clock=VirtualClock()) as engine, Engine(store) as other:

        def pauses(number: int) -> int:
            if number == 1:
                other.get(current().run_id).pause()
            return number

        @workflow("held")
        async def held(wf: AsyncContext, where: str) -> None:
            if where == "in a call":
                await wf.execute("a", pauses, 1)
            elif where == "in a map":
                await wf.map("m", pauses, [1, 2, 3], width=2)
            else:
                await wf.gather(wf.execute("a", pauses, 1), wf.execute("b", _awork, 1))

        engine.register(held)
        for where in ("in a call", "in a map", "in a gather"):
            run = engine.start(held, where)
            engine.run_until_idle()
            assert run.status() == "paused"
            run.resume()
            engine.run_until_idle()
    outcomes = [span.attributes["stepflow.outcome"] for span in told.spans("attempt held")]
    assert outcomes == ["paused", "completed"] * 3


def test_an_atomic_workflow(told, tmp_path):
    @workflow("transfer", atomic=True)
    def transfer(wf: Context, number: int) -> int:
        return wf.execute("book", _work, number)

    with Engine(f"sqlite:///{tmp_path}/runs.db", instrument=told.instrument) as engine:
        engine.register(transfer)
        run = engine.start(transfer, 1)
        engine.run_until_idle()
        assert run.result() == 2
    assert told.edges() == [
        ("", "start transfer"),
        ("attempt transfer", "step _work"),
        ("start transfer", "attempt transfer"),
    ]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_child_is_in_the_trace_of_its_parent(told, engine, is_async):
    @workflow("child")
    def child(wf: Context, number: int) -> int:
        return wf.execute("work", _work, number)

    @workflow("parent")
    def parent(wf: Context, number: int) -> int:
        return wf.result("end", wf.start_child("kid", child, number))

    @workflow("parent")
    async def aparent(wf: AsyncContext, number: int) -> int:
        return await wf.result("end", await wf.start_child("kid", child, number))

    wanted = aparent if is_async else parent
    engine.register(wanted, child)
    run = engine.start(wanted, 1)
    engine.run_until_idle(advance=True)
    assert run.result() == 2
    assert len(told.traces()) == 1
    assert told.parent(told.span("start child")) == "attempt parent"
    assert told.parent(told.span("attempt child")) == "start child"
    assert told.parent(told.span("wait")) == "start parent"


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_flow_functions_one_after_another(told, engine, is_async):
    @flow("first")
    def first(ctx: StateCtx) -> Any:
        return transit(ctx, "second")

    @flow("first")
    async def afirst(ctx: StateCtx) -> Any:
        return transit(ctx, "second")

    @flow("second")
    def second(ctx: StateCtx) -> Any:
        return park(ctx)

    wanted = afirst if is_async else first
    engine.register(wanted, second)
    with requested(told):
        engine.start(wanted, id="one")
    engine.run_until_idle()
    assert told.edges() == [
        ("", "request"),
        ("attempt first", "step first"),
        ("attempt first", "step second"),
        ("request", "start first"),
        ("start first", "attempt first"),
    ]


def test_each_try_of_a_step_is_a_span_and_the_failed_one_has_the_error(told, engine):
    definition = named("order", Order).retry("r", RetryPolicy(3, delay=60.0), Steps().do("charge", Flaky(1))).compile()
    engine.register(definition)
    engine.start(definition, Order())
    engine.run_until_idle(advance=True)
    failed, again = told.spans("step rRetry/charge")
    assert (failed.attributes["stepflow.attempt"], again.attributes["stepflow.attempt"]) == (1, 2)
    assert failed.status.status_code is trace.StatusCode.ERROR
    assert failed.attributes["error.type"] == "Broken"
    (event,) = failed.events
    assert event.attributes["exception.message"] == "call 1"
    assert "in __call__" in event.attributes["exception.stacktrace"]
    assert again.status.status_code is trace.StatusCode.UNSET
    assert told.parent(told.span("back off")) == "start order"


def test_an_attempt_that_ends_the_run_as_failed_has_the_error(told, engine):
    definition = named("order", Order).do("charge", Flaky(9)).compile()
    engine.register(definition)
    engine.start(definition, Order())
    engine.run_until_idle()
    attempt = told.span("attempt order")
    assert attempt.status.status_code is trace.StatusCode.ERROR
    assert attempt.attributes["stepflow.outcome"] == "failed"
    assert attempt.attributes["error.type"] == "Broken"


def test_a_wait_for_an_event_is_a_span_and_so_is_its_publish(told, engine, clock):
    definition = named("order", Order).wait_event("paid", "payment", int, lambda order, amount: None).compile()
    engine.register(definition)
    with requested(told):
        run = engine.start(definition, Order(), id="one")
    engine.run_until_idle()
    clock.advance(timedelta(minutes=5))
    run.publish("payment", 3)
    engine.run_until_idle()
    wait = told.span("wait")
    assert wait.attributes["stepflow.event"] == "payment"
    assert wait.end_time - wait.start_time == 300 * 10**9
    assert told.span("publish payment").attributes["stepflow.run.id"] == "one"
    assert told.span("publish payment").context.trace_id != wait.context.trace_id


def test_many_starts_are_one_span(told, engine):
    engine.register(CHAIN)
    engine.start_many(CHAIN, [("a", Order()), ("b", Order())])
    engine.run_until_idle()
    assert told.span("start order").attributes["stepflow.run.count"] == 2
    assert [told.parent(span) for span in told.spans("attempt order")] == ["start order"] * 2


def test_an_attempt_after_a_death_tells_of_the_one_that_was_interrupted(told, clock, tmp_path):
    driver = SqliteDriver(tmp_path / "runs.db")
    with Engine(driver, clock=clock, instrument=told.instrument) as engine:
        engine.register(CHAIN)
        engine.start(CHAIN, Order(), id="one")
        victim = driver.connect("", Owner("victim", "host", 1), clock.now())
        assert victim.claim({CHAIN.name: CHAIN.definition}, clock.now(), 1)
        killer = driver.connect("", Owner("killer", "host", 1), clock.now())
        killer.beat(clock.now(), ["victim"])
        engine.run_until_idle()
        killer.close()
    (event,) = [one for one in told.span("attempt order").events if one.name != "stepflow.commit"]
    assert event.name == "stepflow.interrupted"
    assert dict(event.attributes) == {"stepflow.crashes": 1, "stepflow.unfinished": 1}


def test_log_records_have_the_trace(told, engine, caplog):
    caplog.set_level(logging.INFO, "stepflow")
    definition = named("order", Order).do("charge", Flaky(9)).compile()
    engine.register(definition)
    engine.start(definition, Order(), id="one")
    engine.run_until_idle()
    (record,) = [r for r in caplog.records if hasattr(r, "run_id")]
    (trace_id,) = told.traces()
    assert (record.run_id, record.trace_id) == ("one", f"{trace_id:032x}")


def test_the_info_of_a_run_has_its_trace(told, engine):
    run = engine.start(CHAIN, Order())
    (trace_id,) = told.traces()
    assert run.info().trace_id == f"{trace_id:032x}"
    with Engine("memory://") as other:
        assert other.start(CHAIN, Order()).info().trace_id == ""


def test_a_message_to_a_topic_is_a_publish(told, engine):
    engine.publish_topic("prices", 3, id="one")
    (attempt,) = told.spans()
    assert (attempt.name, attempt.kind) == ("publish topic", trace.SpanKind.PRODUCER)
    assert "stepflow.runs.started" not in told.metrics()


def test_a_start_that_is_refused_is_a_failed_span(told, engine):
    engine.start(CHAIN, Order(), id="one")
    with pytest.raises(Exception, match="was started before"):
        engine.start(CHAIN, Order(amount=9), id="one")
    with pytest.raises(StoreError):
        engine.start(CHAIN, Order(), id="two", tx=object())
    assert told.spans("start order")[-1].status.status_code is trace.StatusCode.ERROR


def test_a_step_may_do_anything_with_its_context(told):
    """Steps that leave spans current, or end in another context, do no harm to the spans around them."""

    def untidy(order: Order) -> None:
        told.tracers.get_tracer("app").start_as_current_span("left open").__enter__()

    definition = named("order", Order).do("untidy", untidy).do("next", note("next")).compile()
    with Engine("memory://", instrument=told.instrument) as engine:
        engine.register(definition)
        run = engine.start(definition, Order())
        engine.run_until_idle()
        assert run.status() == "completed"
    assert {"step untidy", "step next", "attempt order"} <= {span.name for span in told.spans()}


def test_the_spans_of_a_step_know_the_run_by_current(told):
    seen: list[str] = []
    definition = named("order", Order).do("pay", lambda order: seen.append(current().run_id)).compile()
    with Engine("memory://", clock=VirtualClock(), instrument=told.instrument) as engine:
        engine.register(definition)
        engine.start(definition, Order(), id="one")
        engine.run_until_idle()
    assert seen == ["one"]
