"""Deaths of owners: counted only without progress, suspects alone, quarantine after `max_crashes`, redrive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from stepflow import Engine, MemoryDriver, RunFailed, Status, current, named
from stepflow.drivers.port.commit import Commit, Owner, Write
from stepflow.drivers.port.store import Store
from stepflow.model.state import State
from stepflow.testing import VirtualClock
from tests.engine.clocks import ManualClock
from tests.engine.flows import Order, chain, note

Die = Callable[..., None]
Session = Callable[[str], Store]


@pytest.fixture
def die(session: Session, clock: VirtualClock) -> Die:
    """`die(flow, "id")`: an owner claims a run of the flow (with `commit=True` also commits a step) and is judged dead."""
    deaths = iter(range(1000))

    def die(flow: Any, run_id: str, commit: bool = False) -> None:
        name = f"victim-{next(deaths)}"
        victim, judge = session(name), session(f"judge-of-{name}")
        definitions = {flow.name: flow.definition}
        for suspects in (False, True):
            claims = victim.claim(definitions, clock.now(), 99, suspects=suspects)
            for claim in claims:
                if claim.fence.id == run_id and commit:
                    (record,) = victim.load([run_id])
                    assert record is not None
                    old = record.state
                    state = State(old.id, old.rev, old.transition, old.labels, old.annotations)
                    (result,) = victim.commit([Commit(claim.fence, writes=(Write(state),))], clock.now())
                    assert isinstance(result, tuple)
        judge.beat(clock.now(), dead=[name])
        judge.close()

    return die


def test_a_death_without_progress_is_counted_and_shown(engine, die):
    flow = chain("x", "a")
    run = engine.start(flow, Order(), id="one")
    die(flow, "one")
    info = run.info()
    assert (info.status, info.crashes) == (Status.QUEUED, 1)
    assert "1 claim(s) of it ended without progress: their processes died" in run.explain()


def test_a_death_after_progress_is_forgiven(engine, die):
    flow = chain("x", "a")
    run = engine.start(flow, Order(), id="one")
    die(flow, "one")
    die(flow, "one", commit=True)
    assert (run.info().crashes, run.info().attempt) == (0, 2)  # the second one had begun the next attempt


@pytest.mark.parametrize("deaths", [1, 2])
def test_below_the_limit_the_run_continues_and_progress_clears_it(engine, die, deaths):
    seen: list[int] = []
    first = named("x", Order).do("a", lambda: seen.append(current().attempt))
    flow = first.do("b", lambda: seen.append(current().attempt)).compile()
    engine.register(flow)
    run = engine.start(flow, Order(), id="one")
    for _ in range(deaths):
        die(flow, "one")
    assert engine.run_until_idle().completed == 1
    assert seen == [1 + deaths, 1]
    assert run.info().crashes == 0


@pytest.mark.parametrize("limit", [1, 3, 5])
def test_at_the_limit_it_is_failed_with_the_reason(engine, die, limit):
    calls: list[int] = []
    flow = named("x", Order).do("a", lambda: calls.append(1)).compile(max_crashes=limit)
    engine.register(flow)
    run = engine.start(flow, Order(), id="one")
    for _ in range(limit):
        die(flow, "one")
    assert engine.run_until_idle().failed == 1
    assert calls == []
    with pytest.raises(RunFailed, match=rf"Crashed: {limit} processes died while they held this run at .*start:x"):
        run.result()
    assert [r.id for r in engine.runs(status="failed")] == ["one"]
    run.redrive()
    assert (run.status(), run.info().crashes) == (Status.QUEUED, 0)
    assert engine.run_until_idle().completed == 1


def test_a_cancel_is_kept_over_a_death(engine, session, clock):
    flow = chain("x", "a")
    engine.register(flow)
    run = engine.start(flow, Order(), id="one")
    victim = session("victim")
    assert len(victim.claim({"x": flow.definition}, clock.now(), 1)) == 1
    run.cancel()
    assert run.status() is Status.RUNNING  # its holder is asked to stop
    judge = session("judge")
    judge.beat(clock.now(), dead=["victim"])
    judge.close()
    engine.run_until_idle()
    assert run.status() is Status.CANCELLED


def test_a_suspect_runs_alone(store, die, clock):
    alone: list[set[str]] = []
    here: set[str] = set()

    async def step(order: Order) -> None:
        me = current().run_id
        here.add(me)
        for _ in range(20):
            await sleep(0)
            if me == "suspect":
                alone.append(set(here))
        here.discard(me)

    from asyncio import sleep

    flow = named("x", Order).do("a", step).compile()
    with Engine(store) as engine:
        engine.start(flow, Order(), id="suspect", at=clock.datetime())
        die(flow, "suspect")
        die(flow, "suspect")
        for n in range(10):
            engine.start(flow, Order(), id=f"innocent-{n}")
        engine.register(flow)
        assert engine.run_until_idle().completed == 11
    assert len(alone) == 20
    assert all(company == {"suspect"} for company in alone)


def test_another_run_of_the_dead_owner_is_cleared_by_its_first_commit(engine, die):
    flow = chain("x", "a", "b")
    engine.register(flow)
    runs = [engine.start(flow, Order(), id=name) for name in ("bad", "good")]
    die(flow, "bad")  # the victim held both
    assert [run.info().crashes for run in runs] == [1, 1]
    assert engine.run_until_idle().completed == 2
    assert [run.info().crashes for run in runs] == [0, 0]


def test_a_suspect_that_waits_is_none_any_more(engine, die, clock):
    flow = named("x", Order).do("a", note("a")).wait_for("w", lambda: clock.monotonic() > 50, every=30).compile()
    engine.register(flow)
    engine.start(flow, Order(), id="one")
    die(flow, "one")
    die(flow, "one")
    engine.run_until_idle()
    info = engine.get("one").info()
    assert (info.status, info.crashes) == (Status.WAITING, 0)
    assert engine.run_until_idle(advance=True).completed == 1


def test_a_suspect_that_is_blocked_does_not_keep_the_worker_busy(engine, die):
    old: Any = chain("x", "a")
    run = engine.start(old, Order(), id="one")
    die(old, "one")
    die(old, "one")
    narrow = attrs.make_class("Narrow", {"amount": attrs.field(type=int)})
    engine.register(named("x", narrow).do("a", lambda: None).compile())
    engine.run_until_idle()
    assert (run.status(), run.info().crashes) == (Status.BLOCKED, 2)
    assert engine.run_until_idle(advance=True).completed == 0
    run.redrive()
    assert run.info().crashes == 0


def test_an_owner_without_a_lock_is_taken_over_after_ten_seconds_without_a_heartbeat(clock):
    store, flow = MemoryDriver(), chain("x", "a")
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        engine.start(flow, Order(), id="one")
        silent = store.connect("", Owner("silent", "host", 1), clock.now())
        assert len(silent.claim({"x": flow.definition}, clock.now(), 1)) == 1
        for _ in range(2):
            engine.run_until_idle()
            assert engine.get("one").status() is Status.RUNNING
            clock.advance(4.9)
        engine.run_until_idle()
        clock.advance(0.2)
        assert engine.run_until_idle().completed == 1


def test_run_until_idle_waits_until_an_owner_without_heartbeat_is_dead(store, session):
    clock = ManualClock()
    flow = chain("x", "a")
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow, Order(), id="one")
        silent = session("silent")
        assert len(silent.claim({"x": flow.definition}, clock.now(), 1)) == 1
        for _ in range(6):  # it is seen, and never changes
            engine._engine._session.heartbeat.beat()
            clock.leap(2)
        assert engine.run_until_idle().completed == 1
        assert run.result(timeout=60).log == ["a"]


def test_two_living_engines_do_not_wait_for_each_other(store):
    flow = chain("x", "a")
    with Engine(store) as one, Engine(store) as two:
        for engine in (one, two):
            engine.register(flow)
        with one.worker():
            runs = [two.start(flow, Order(), id=f"run-{n}") for n in range(20)]
            two.run_until_idle()
            assert all(run.result(timeout=60).log == ["a"] for run in runs)
