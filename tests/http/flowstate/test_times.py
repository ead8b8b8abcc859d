"""Times over flowstate.v1: commits have the server's, in milliseconds, and delays are in whole seconds."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from stepflow import Engine, StateCtx, commit, delay, flow, park, transit
from stepflow.engine.clock import SystemClock, moment
from stepflow.model.commands import GetDelayedStates
from stepflow.testing import VirtualClock

LIMIT_S = 60
FAR = datetime(9000, 1, 1, tzinfo=UTC)


def test_reading_and_watching_since_a_time(flowstate_url):
    with Engine(flowstate_url) as engine:
        first, second = StateCtx("first"), StateCtx("second")
        engine.do(commit(park(first)))
        while True:  # until the server's clock has moved on
            engine.do(commit(park(second)))
            if second.committed_at > first.committed_at:
                break
        at = moment(second.committed_at)
        assert engine.states(since=at).states == (second.committed,)
        assert engine.states(since=at + timedelta(milliseconds=1)).states == ()
        assert engine.states(since=at - timedelta(seconds=1)).states[-1] == second.committed
        watch = engine.watch(since=at)
        assert watch.next(timeout=LIMIT_S) == second.committed
        later = engine.watch(since=at + timedelta(days=1))
        third = StateCtx("third")
        engine.do(commit(park(third)))
        assert watch.next(timeout=LIMIT_S) == third.committed
        assert later.next(timeout=0) is None


def test_a_delay_is_due_at_the_next_whole_second(flowstate_url):
    calls: list[datetime] = []
    clock = VirtualClock(datetime(2031, 1, 1, tzinfo=UTC))

    @flow("f")
    def late(ctx: StateCtx):
        calls.append(clock.datetime())
        return commit(park(ctx))

    with Engine(flowstate_url, clock=clock) as engine:
        engine.register(late)
        for number, seconds in enumerate((0.2, 1, 1.000_001, 5.9)):
            engine.do(delay(StateCtx(f"s{number}"), "f", seconds))
        engine.run_until_idle(advance=True)
        assert all(one.fired for one in engine.do(GetDelayedStates(until=FAR)))
    assert [(at - datetime(2031, 1, 1, tzinfo=UTC)).total_seconds() for at in calls] == [1, 1, 2, 6]


def test_a_delay_comes_not_before_its_time(flowstate_url):
    late: list[tuple[int, int]] = []

    @flow("f")
    def note(ctx: StateCtx):
        assert ctx.delayed_until is not None
        late.append((math.ceil(ctx.delayed_until.timestamp()), SystemClock().now() // 1_000_000))
        return commit(park(ctx))

    with Engine(flowstate_url) as engine:
        engine.register(note)
        with engine.worker():
            engine.do(delay(StateCtx("s"), "f", 0.3))
            watch = engine.watch()
            while (state := watch.next(timeout=LIMIT_S)) and not state.parked:
                pass
    ((due, at),) = late
    assert at >= due


def test_a_delay_is_void_when_its_state_moved_on(flowstate_url):
    calls: list[str] = []

    @flow("f")
    def work(ctx: StateCtx):
        calls.append(ctx.id)
        return commit(park(ctx))

    clock = VirtualClock(datetime.now(UTC))
    with Engine(flowstate_url, clock=clock) as engine:
        engine.register(work)
        stays, moves = StateCtx("stays"), StateCtx("moves")
        engine.do(commit(park(stays), park(moves)), delay(stays, "f", 900), delay(moves, "f", 900))
        engine.do(commit(park(moves)))
        engine.run_until_idle(advance=True)
        assert calls == ["stays"]
        clock.advance(timedelta(days=1))
        assert engine.run_until_idle().next_due is None
        assert [one.fired for one in engine.do(GetDelayedStates(until=FAR))] == [True, True]


def test_a_delay_without_commit_is_stored_and_left_to_the_server(flowstate_url):
    """The protocol does not tell whether one was carried out: a worker here could not know that the server's delayer did it."""
    calls: list[str] = []

    @flow("f")
    def work(ctx: StateCtx):
        calls.append(ctx.id)
        return commit(park(ctx))

    with Engine(flowstate_url, clock=VirtualClock(datetime.now(UTC))) as engine:
        engine.register(work)
        ctx = StateCtx("s")
        engine.do(commit(transit(ctx, "other")), delay(ctx, "f", 10, commit=False, k="v"))
        engine.run_until_idle(advance=True)
        (found,) = engine.do(GetDelayedStates(until=FAR))
    assert (calls, found.commit, found.state.rev) == ([], False, ctx.rev)
    assert found.state.transition.annotations["k"] == "v"
    assert found.state.transition.annotations["flowstate.delay.commit"] == "false"
