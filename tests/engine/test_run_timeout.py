"""`run_timeout`: a run that has not ended in time fails with TimedOut, wherever it waits, and whichever call started it."""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from stepflow import (
    Context,
    DefinitionError,
    Engine,
    Limit,
    RunFailed,
    Status,
    StepflowError,
    named,
    workflow,
)
from stepflow import flow as function
from stepflow.drivers.port.store import Store
from tests.engine.flows import Order, chain, note
from tests.engine.timed_runs import HOUR, WAITS, ended, open_ends, waiting_flow


@pytest.mark.parametrize("kind", WAITS)
def test_a_run_that_waits_fails_at_its_end(engine, clock, session, kind):
    engine.register(flow := waiting_flow(kind))
    began = clock.datetime()
    run = engine.start(flow, Order(), run_timeout=HOUR)
    idle = engine.run_until_idle()
    assert run.info().ends_at == began + HOUR
    assert idle.next_due == began + HOUR
    engine.run_until_idle(advance=True, until=HOUR - timedelta(seconds=1))
    assert not run.status().final
    idle = engine.run_until_idle(advance=True)
    info = ended(run)
    assert info.updated_at == began + HOUR
    assert info.labels == {}
    assert idle.next_due is None
    assert open_ends(session) == []
    with pytest.raises(RunFailed, match="TimedOut: the run did not end within 1 h"):
        run.result()


def test_a_run_that_ends_in_time_leaves_nothing(engine, clock, session):
    engine.register(flow := chain("x", "a", "b"))
    began = clock.datetime()
    run = engine.start(flow, Order(), run_timeout=timedelta(days=365))
    assert open_ends(session) == [run.id]
    idle = engine.run_until_idle(advance=True)
    assert (run.result().log, idle.next_due, clock.datetime()) == (["a", "b"], None, began)
    assert open_ends(session) == []
    assert run.info().ends_at is None


def test_a_year_passes_at_once_under_a_virtual_clock(engine, clock):
    engine.register(flow := waiting_flow("event"))
    run = engine.start(flow, Order(), run_timeout=timedelta(days=365))
    engine.run_until_idle(advance=True)
    ended(run, "the run did not end within 365 d, its run_timeout; it was at completed:x/a")


def test_the_limit_of_the_flow_is_the_default(engine, clock):
    flow = named("x", Order).wait_event("w", "paid", int, lambda _o, _p: None).compile(run_timeout=60)
    engine.register(flow)
    own, other = engine.start(flow, Order(), id="own"), engine.start(flow, Order(), id="other", run_timeout=30.5)
    later = engine.start(flow, Order(), id="later", at=clock.datetime() + HOUR)
    assert later.info().ends_at == clock.datetime() + HOUR + timedelta(seconds=60)
    engine.run_until_idle(advance=True, until=timedelta(seconds=31))
    assert (own.status(), later.status()) == (Status.WAITING, Status.WAITING)
    ended(other, "the run did not end within 30.5 s")
    engine.run_until_idle(advance=True)
    ended(own, "the run did not end within 1 min")
    ended(later, "the run did not end within 1 min")


def test_the_same_start_again_keeps_the_first_limit(engine, clock):
    engine.register(flow := waiting_flow("event"))
    first = engine.start(flow, Order(), id="r", run_timeout=60)
    clock.advance(10)
    assert engine.start(flow, Order(), id="r", run_timeout=9).info().ends_at == first.info().ends_at
    assert engine.start(flow, Order(), id="r").info().ends_at == first.info().ends_at


@pytest.mark.parametrize("keeps", [True, False])
def test_a_start_with_a_transaction_has_it_once_that_commits(sqlite, clock, keeps):
    flow = waiting_flow("event")
    with Engine(sqlite, clock=clock) as engine, closing(sqlite3.connect(sqlite.path)) as connection:
        engine.register(flow)
        run = engine.start(flow, Order(), id="r", run_timeout=HOUR, tx=connection)
        connection.commit() if keeps else connection.rollback()
        ends = engine.run_until_idle().next_due
        assert ends == (clock.datetime() + HOUR if keeps else None)
        engine.run_until_idle(advance=True)
        if keeps:
            ended(run)


def test_many_runs_have_it(engine, session):
    engine.register(flow := waiting_flow("event"))
    runs = engine.start_many(flow, [(None, Order()) for _ in range(250)], run_timeout=HOUR)
    assert len(open_ends(session)) == 250
    engine.run_until_idle(advance=True)
    for run in runs:
        ended(run)
    assert open_ends(session) == []


def test_a_run_that_is_queued_behind_a_limit_fails_at_its_end(engine, clock):
    engine.register(flow := waiting_flow("event"))
    limit = Limit("one", rate=1, per=timedelta(days=2))
    first = engine.start(flow, Order(), id="a", limits=limit)
    second = engine.start(flow, Order(), id="b", limits=limit, run_timeout=HOUR)
    began = clock.datetime()
    engine.run_until_idle(advance=True, until=timedelta(hours=2))
    assert ended(second).updated_at == began + HOUR
    assert first.status() is Status.WAITING


def test_each_run_of_a_schedule_has_it(engine, clock, session):
    engine.register(flow := waiting_flow("event"))
    schedule = engine.schedule("nightly", flow, Order(), every=timedelta(hours=6), overlap="cancel", run_timeout=HOUR)
    assert schedule.info().run_timeout == HOUR
    assert [one.id for one in engine.schedules()] == ["nightly"]
    engine.run_until_idle(advance=True, until=timedelta(hours=6, minutes=1))
    (run,) = engine.runs(flow="x")
    assert run.ends_at == run.created_at + HOUR
    assert [one.id for one in engine.schedules()] == ["nightly"]
    hand = schedule.trigger()
    assert hand.info().ends_at == clock.datetime() + HOUR
    engine.run_until_idle(advance=True, until=timedelta(hours=2))
    ended(engine.get(run.id))
    ended(hand)
    engine.schedule("nightly", flow, Order(), every=timedelta(hours=6), overlap="cancel")
    assert schedule.info().run_timeout is None


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (0, "give more than 0 seconds, finite"),
        (-1, "give more than 0 seconds, finite"),
        (math.nan, "give more than 0 seconds, finite"),
        (math.inf, "give more than 0 seconds, finite"),
        (timedelta(0), "give more than 0 seconds, finite"),
        (timedelta(seconds=-1), "give more than 0 seconds, finite"),
        (True, "is not a duration: give seconds or a timedelta"),
        ("1h", "is not a duration: give seconds or a timedelta"),
        (1e-9, "give a millisecond to 100 years"),
        (timedelta.max, "give a millisecond to 100 years"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused(engine, given, text):
    engine.register(flow := chain("x", "a"))

    @workflow("parent")
    def parent(wf: Context) -> str:
        try:
            wf.start_child("c", flow, Order(), run_timeout=given)
        except StepflowError as error:
            return str(error)
        return "started"

    engine.register(parent)
    calls: list[Callable[[], object]] = [
        lambda: engine.start(flow, Order(), run_timeout=given),
        lambda: engine.start_many(flow, [(None, Order())], run_timeout=given),
        lambda: engine.schedule("s", flow, Order(), every=HOUR, run_timeout=given),
    ]
    for call in calls:
        with pytest.raises(StepflowError, match=f"run_timeout=.*{text}"):
            call()
    run = engine.start(parent)
    engine.run_until_idle()
    assert f"run_timeout={given!r}" in run.result()
    assert text in run.result()
    assert [one.id for one in engine.runs()] == [run.id]
    assert engine.schedules() == []
    with pytest.raises(DefinitionError, match=f"x: run_timeout=.*{text}"):
        named("x", Order).do("a", note("a")).compile(run_timeout=given)
    with pytest.raises(DefinitionError, match=f"w: run_timeout=.*{text}"):
        workflow("w", run_timeout=given)


def test_states_of_flow_functions_have_none(engine):
    @function("f")
    def fn(ctx: Any) -> Any:
        raise AssertionError

    engine.register(fn)
    with pytest.raises(
        StepflowError, match="'f' is a flow function, and States of those have no time limit as a whole"
    ):
        engine.start(fn, run_timeout=5)
    with pytest.raises(TypeError, match=r"flow\(run_timeout=5\): there is no keyword run_timeout=: States of flow"):
        function("g", run_timeout=5)  # type: ignore[call-arg]


def test_the_ids_of_schedules_cannot_be_those_of_ends(engine):
    engine.register(flow := waiting_flow("event"))
    run = engine.start(flow, Order(), run_timeout=HOUR)
    for name in ("\x01" + run.id, "\x02", "\nx"):
        with pytest.raises(StepflowError, match="begins with a printable character"):
            engine.get_schedule(name)
        with pytest.raises(StepflowError, match="begins with a printable character"):
            engine.schedule(name, flow, Order(), every=HOUR)


@pytest.mark.parametrize("kind", WAITS)
def test_a_run_that_no_worker_holds_at_its_end_is_counted_as_failed(engine, kind):
    engine.register(flow := waiting_flow(kind))
    for _ in range(3):
        engine.start(flow, Order(), run_timeout=HOUR)
    assert engine.run_until_idle(advance=True).failed == 3


def test_a_tick_that_waits_for_a_run_starts_when_that_is_timed_out(engine, clock):
    engine.register(flow := waiting_flow("event"))
    began = clock.datetime()
    schedule = engine.schedule("hourly", flow, Order(), every=HOUR, overlap="queue", run_timeout=timedelta(minutes=90))
    engine.run_until_idle(advance=True, until=timedelta(hours=4))
    runs = engine.runs(order="created", ascending=True)
    assert [run.created_at - began for run in runs[:2]] == [HOUR, 2.5 * HOUR], schedule


def test_runs_whose_limits_are_over_at_the_same_time_are_read_together(engine, session, monkeypatch):
    engine.register(flow := waiting_flow("event"))
    for _ in range(40):
        engine.start(flow, Order(), run_timeout=HOUR)
    engine.run_until_idle()
    kind, reads = type(session("reader")), Counter[str]()
    read, load = kind.read, kind.load

    def counted_read(self: Store, query: Any) -> Any:
        reads[type(query).__name__] += 1
        return read(self, query)

    def counted_load(self: Store, ids: Any) -> Any:
        reads["load"] += 1
        return load(self, ids)

    monkeypatch.setattr(kind, "read", counted_read)
    monkeypatch.setattr(kind, "load", counted_load)
    assert engine.run_until_idle(advance=True).failed == 40
    assert reads["PausedFlowsQuery"] <= 2, reads
    assert reads["load"] <= 2, reads
