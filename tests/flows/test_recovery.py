"""Flow functions that hang or lose their process: taken over, given back, left alone, or failed for good."""

from __future__ import annotations

import pytest

from stepflow import (
    AsyncEngine,
    Conflict,
    Engine,
    Execute,
    Noop,
    StateCtx,
    Status,
    commit,
    flow,
    park,
    transit,
)
from stepflow.drivers.values import Commit, Enqueue, Owner, Write
from stepflow.model.state import State, Transition
from tests.flows.simple import parking
from tests.flows.tracker import on_loop

ENABLED = "flowstate.recovery.enabled"
ATTEMPTS = "flowstate.recovery.max_attempts"
RETRY = "flowstate.recovery.retry_after"
GHOST = Owner("ghost", "elsewhere", 1)


def ghost_commits(store, clock, *ids, **annotations):
    """Another process commits States that go to aFlow, and dies before it executes them."""
    session = store.connect("", GHOST, clock.now())
    session.beat(clock.now())
    for run_id in ids:
        state = State(run_id, 0, Transition("aFlow"), {}, annotations)
        session.commit([Commit(writes=(Write(state),), queue=(Enqueue(run_id, "aFlow", clock.now(), owned=True),))], 0)
    return session


def ghost_takes(store, clock, number):
    """Another process claims the State, and dies."""
    session = store.connect("", Owner(f"ghost-{number}", "elsewhere", 1), clock.now())
    session.beat(clock.now())
    assert session.claim({"aFlow": "any"}, clock.now(), 1, suspects=number >= 2)
    return session


def bury(engine, clock):
    """Let the engine see that the other process is silent for too long."""
    engine.run_until_idle()
    clock.advance(11)
    return engine.run_until_idle()


def test_what_a_dead_process_committed_is_executed(store, engine, clock, calls):
    engine.register(parking(calls))
    ghost_commits(store, clock, "a", "b")
    engine.run_until_idle()
    assert calls == {}
    bury(engine, clock)
    assert calls == {"a": 1, "b": 1}
    assert engine.get("a").status() is Status.PARKED


def test_what_nobody_executed_is_given_back_after_two_minutes(engine, clock, calls):
    engine.register(parking(calls))
    engine.do(commit(transit(StateCtx("a"), "aFlow")))
    clock.advance(110)
    engine.run_until_idle()
    assert calls == {}
    clock.advance(10)
    engine.run_until_idle()
    assert calls == {"a": 1}


@pytest.mark.parametrize(("text", "wait"), [("1m0s", 60), ("90s", 90), ("1.5m", 90), ("nonsense", 120)])
def test_retry_after_says_when(engine, clock, calls, text, wait):
    engine.register(parking(calls))
    engine.do(commit(transit(StateCtx("a", {}, {RETRY: text}), "aFlow")))
    clock.advance(wait - 1)
    engine.run_until_idle()
    assert calls == {}
    clock.advance(1)
    engine.run_until_idle()
    assert calls == {"a": 1}


@pytest.mark.parametrize(("after", "outcome"), [(110, "Parked"), (150, "Conflict")])
def test_a_late_caller_is_told_of_the_conflict(store, engine, clock, calls, after, outcome):
    engine.register(parking(calls))
    ctx = StateCtx("a")
    engine.do(commit(transit(ctx, "aFlow")))
    clock.advance(after)
    with Engine(store, clock=clock) as worker:
        worker.register(parking(calls))
        engine.run_until_idle()
        worker.run_until_idle()
    assert type(engine.execute(ctx)).__name__ == outcome
    if outcome == "Conflict":
        assert engine.execute(ctx) == Conflict(("a",))
    assert len(engine.get("a").history()) == 2


def test_one_that_is_closed_gives_its_states_to_the_others(store, clock, calls):
    with Engine(store, clock=clock) as client:
        client.do(
            commit(transit(StateCtx("a"), "aFlow")), commit(transit(StateCtx("b", {}, {ENABLED: "false"}), "aFlow"))
        )
    with Engine(store, clock=clock) as worker:
        worker.register(parking(calls))
        worker.run_until_idle()
    assert calls == {"a": 1}


def test_a_state_with_recovery_disabled_is_left_alone(store, engine, clock, calls):
    engine.register(parking(calls))
    ghost_commits(store, clock, "dead", **{ENABLED: "false"})
    ctx = StateCtx("mine", {}, {ENABLED: "false"})
    engine.do(commit(transit(ctx, "aFlow")))
    bury(engine, clock)
    clock.advance(600)
    engine.run_until_idle()
    assert calls == {}
    assert engine.get_state("dead").transition.to == "aFlow"
    engine.execute(ctx)
    assert calls == {"mine": 1}


def test_a_state_that_takes_processes_down_becomes_a_dead_letter(store, engine, clock, calls):
    engine.register(parking(calls))
    engine.start(parking(calls), id="a")
    for number in range(3):
        ghost_takes(store, clock, number)
        with Engine(store, clock=clock) as observer:
            bury(observer, clock)
    idle = engine.run_until_idle()
    assert (calls, idle.failed) == ({}, 1)
    info = engine.get("a").info()
    assert info.error.type == "Crashed"
    assert "3 processes died while they held this run at aFlow" in info.error.message
    engine.get("a").redrive()
    engine.run_until_idle()
    assert calls == {"a": 1}


@on_loop
async def test_a_function_that_hangs_loses_its_claim_and_its_late_commit(store, track):
    import threading

    going_on, late = threading.Event(), []

    @flow("hangs", hung_after=0.2)
    def hangs(ctx, engine):
        track(ctx)
        if track.count("hangs") == 1:
            assert going_on.wait(20)
            try:
                engine.do(commit(park(ctx, who="first")))
            except Exception as error:
                late.append(type(error).__name__)
            track.note("late")
            return Noop()
        return commit(park(ctx, who="second"))

    async with AsyncEngine(store) as engine:
        engine.register(hangs)
        run = await engine.start(hangs)
        async with engine.worker():
            await track.until(2)
            watch = engine.watch(since="latest")
            while not (await watch.next(20)).parked:
                pass
            going_on.set()
            await track.until(3)
        assert late in (["RevMismatch"], ["LostClaim"])
        assert (await engine.get_state(run.id)).annotation("who") == "second"


@on_loop
async def test_background_executions_end_with_their_engine(store, track, caplog):
    @flow("waits")
    async def waits(ctx, engine):
        track(ctx)
        await engine.watch({"never": "committed"}).next()

    @flow("blocks")
    def blocks(ctx, engine):
        track(ctx)
        for _ in engine.watch({"never": "committed"}):
            pass

    async with AsyncEngine(store) as engine:
        engine.register(waits, blocks)
        for name in ("waits", "blocks"):
            ctx = StateCtx(name)
            await engine.do(commit(transit(ctx, name)), Execute(ctx))
        async with engine.worker():
            await engine.start(waits, id="claimed")
            await track.until(3)
    assert "failed" not in caplog.text
    async with AsyncEngine(store) as engine:
        for name in ("waits", "blocks", "claimed"):
            assert await engine.get(name).status() is Status.QUEUED


def test_what_a_function_moved_and_did_not_execute_is_open_to_the_workers_at_once(engine, calls):
    @flow("parent")
    def parent(ctx):
        return commit(park(ctx), transit(StateCtx("child"), "aFlow"))

    engine.register(parent, parking(calls))
    engine.start(parent)
    engine.run_until_idle()
    assert calls == {"child": 1}
