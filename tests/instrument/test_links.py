"""The step that takes an event is linked with the span that published it, however that was done; and the span of an attempt tells of its commits."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from stepflow import AsyncContext, Context, Engine, RunFilter, StateCtx, flow, named, park, workflow
from tests.engine.flows import Order, note
from tests.instrument.told import Told

PAID = (
    named("order", Order)
    .wait_event("paid", "payment", int, lambda order, amount: None)
    .do("ship", note("ship"))
    .compile()
)


@workflow("sync")
def in_thread(wf: Context) -> int:
    return wf.wait_for_event("paid", "payment", int)


@workflow("async")
async def on_loop(wf: AsyncContext) -> int:
    return await wf.wait_for_event("paid", "payment", int)


@workflow("atomic", atomic=True)
def atomic(wf: Context) -> int:
    return wf.wait_for_event("paid", "payment", int)


@workflow("first")
async def first(wf: AsyncContext) -> int:
    return (await wf.first_of("one", wf.event("payment", int), wf.event("other", int))).value


TAKERS = {"order": "step paidWaitEvent", "sync": "attempt sync", "async": "attempt async", "first": "attempt first"}
FLOWS = (PAID, in_thread, on_loop, first)


def linked(told: Told) -> list[tuple[str, str]]:
    """(name, name of the span that it is linked with) of each link."""
    names = {span.context.span_id: span.name for span in told.spans()}
    return [(span.name, names[link.context.span_id]) for span in told.spans() for link in span.links]


@pytest.mark.parametrize("waits", [True, False], ids=["waits", "published before"])
@pytest.mark.parametrize("definition", FLOWS, ids=lambda one: one.name)
def test_what_takes_an_event_is_linked_with_its_publish(told, engine, definition, waits):
    engine.register(definition)
    run = engine.start(definition, *([Order()] if definition is PAID else []), id="one")
    if waits:
        engine.run_until_idle()
    run.publish("payment", 3)
    run.publish("payment", 4)
    engine.run_until_idle()
    assert str(run.status()) == "completed"
    assert linked(told) == [(TAKERS[definition.name], "publish payment")]  # the other one was not taken
    (link,) = [link for span in told.spans() for link in span.links]
    assert link.context.span_id == told.spans("publish payment")[0].context.span_id


def test_an_atomic_workflow(told, tmp_path):
    with Engine(f"sqlite:///{tmp_path}/a.db", instrument=told.instrument) as engine:
        engine.register(atomic)
        run = engine.start(atomic, id="one")
        engine.run_until_idle()
        run.publish("payment", 3)
        engine.run_until_idle()
        assert run.result() == 3
    assert linked(told) == [("attempt atomic", "publish payment")]


def test_another_process_and_a_retry_of_the_step(told, tmp_path):
    failing = named("order", Order).wait_event("paid", "payment", int, lambda order, amount: 1 // 0).compile()
    store = f"sqlite:///{tmp_path}/a.db"
    with Engine(store, instrument=told.instrument) as engine:
        engine.start(failing, Order(), id="one").publish("payment", 3)
    with Engine(store, instrument=told.instrument) as engine:
        engine.register(failing)
        engine.run_until_idle()
    with Engine(store, instrument=told.instrument) as engine:
        engine.register(PAID)
        engine.get("one").redrive()
        engine.run_until_idle()
    assert linked(told) == [("step paidWaitEvent", "publish payment")] * 2


@pytest.mark.parametrize("way", ["broadcast", "bulk", "tx"])
def test_other_ways_of_publishing_are_linked_with_the_span_of_the_caller(told, tmp_path, way):
    path = f"{tmp_path}/a.db"
    with (
        Engine(f"sqlite:///{path}", instrument=told.instrument) as engine,
        closing(sqlite3.connect(path)) as connection,
    ):
        engine.register(PAID)
        run = engine.start(PAID, Order(), id="one", labels={"shop": "a"})
        engine.run_until_idle()
        with told.tracers.get_tracer("app").start_as_current_span("request"):
            if way == "broadcast":
                engine.broadcast({"shop": "a"}, "payment", 3)
            elif way == "bulk":
                engine.publish(RunFilter(flow="order"), "payment", 3, dry_run=False)
            else:
                run.publish("payment", 3, tx=connection)
                connection.commit()
        engine.run_until_idle()
    assert linked(told) == [("step paidWaitEvent", "request")]


def test_without_a_provider_nothing_is_stored_and_what_is_stored_does_no_harm(told, tmp_path):
    path = f"{tmp_path}/a.db"
    with Engine(f"sqlite:///{path}", instrument=False) as engine:
        run = engine.start(PAID, Order(), id="one")
        run.publish("payment", 3)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT traceparent FROM stepflow_events").fetchall() == [(None,)]
        connection.execute("UPDATE stepflow_events SET traceparent = 'nonsense'")
        connection.commit()
    with Engine(f"sqlite:///{path}", instrument=told.instrument) as engine:
        engine.register(PAID)
        engine.run_until_idle()
        assert str(engine.get("one").status()) == "completed"
    assert linked(told) == []


@flow("ends")
def ends(ctx: StateCtx):
    return park()


def test_an_attempt_tells_of_its_commits(told, engine):
    engine.register(PAID, on_loop, ends)
    engine.start(PAID, Order(), id="one").publish("payment", 3)
    engine.start(on_loop, id="two").publish("payment", 3)
    engine.start(ends, None, id="three")
    engine.run_until_idle()
    counts = {}
    for name in ("order", "async", "ends"):
        events = [event for event in told.span(f"attempt {name}").events if event.name == "stepflow.commit"]
        counts[name] = len(events)
        assert all(event.attributes["stepflow.commit.duration"] >= 0 for event in events)
        assert all(event.attributes["stepflow.commit.size"] >= 1 for event in events)
    assert counts == {"order": 2, "async": 2, "ends": 1}
