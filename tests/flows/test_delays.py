"""Delays: fired at their microsecond, exactly once, void when the State moved on; with and without commit; cron."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from stepflow import (
    AsyncEngine,
    Engine,
    Execute,
    GetDelayedStates,
    Noop,
    StateCtx,
    StepflowError,
    commit,
    delay,
    flow,
    park,
    transit,
)
from stepflow.testing import VirtualClock
from tests.flows.tracker import on_loop

START = datetime(2000, 1, 1, tzinfo=UTC)


def noting(name, clock, seen):
    @flow(name)
    def fn(ctx):
        seen[ctx.id] = clock.datetime() - START
        return commit(park(ctx))

    return fn


@on_loop
async def test_a_delay_returned_by_a_function_that_was_never_committed(store, track):
    @flow("first")
    def first(ctx):
        track(ctx)
        return transit(ctx, "second") if ctx.delayed_until else delay(ctx, "first", 0.2)

    @flow("second")
    def second(ctx):
        track(ctx)
        return park(ctx)

    async with AsyncEngine(store) as engine:
        engine.register(first, second)
        ctx = StateCtx("aTID")
        async with engine.worker():
            await engine.do(transit(ctx, "first"), Execute(ctx))
            assert await track.until(3) == ["first", "first", "second"]
            fired = await engine.watch().next(10)
    assert (fired.id, fired.transition.to) == ("aTID", "first")


@on_loop
async def test_cron(store):
    clock, visited = VirtualClock(), []

    @flow("cron")
    def cron(ctx, engine):
        visited.append(("cron", clock.datetime().second))
        later = START + timedelta(seconds=clock.datetime().second + 1)
        task = StateCtx(f"task_{later.second}")
        engine.do(commit(park(ctx), delay(ctx, "cron", later), transit(task, "task")), Execute(task))
        return Noop()

    @flow("task")
    def task(ctx):
        visited.append(("task", clock.datetime().second))
        return commit(park(ctx))

    async with AsyncEngine(store, clock=clock) as engine:
        engine.register(cron, task)
        ctx = StateCtx("aTID")
        await engine.do(commit(transit(ctx, "cron")))
        await engine.execute(ctx)
        for _ in range(2):
            await engine.run_until_idle()
            clock.advance(1)
        await engine.run_until_idle()
    assert visited == [(name, second) for second in range(3) for name in ("cron", "task")]


TABLE = {
    "before the worker exists": ([(0, 60), (0, 120), (0, 180)], [600, 600, 600]),
    "a minute each": ([(840, 60), (900, 60), (960, 60)], [900, 960, 1020]),
    "in the past": ([(840, -300), (900, -300), (960, -300)], [840, 900, 960]),
    "mixed": ([(900, 300), (900, 300), (900, -300)], [1200, 1200, 900]),
    "beyond the end": ([(0, 1860), (0, 1860), (0, 1860)], []),
    "one microsecond": ([(900, 0.000001)], [900.000001]),
}


@pytest.mark.parametrize("name", TABLE)
def test_delays_are_due_to_the_microsecond(engine, clock, name):
    given, expected = TABLE[name]
    seen = {}
    engine.register(noting("later", clock, seen))
    for i, (at, wait) in enumerate(sorted(given, key=lambda item: item[0])):
        advance_to(engine, clock, at)
        engine.do(delay(StateCtx(f"s{i}"), "later", timedelta(seconds=wait)))
    advance_to(engine, clock, 1800)
    assert [seen[key].total_seconds() for key in sorted(seen)] == expected


def advance_to(engine: Engine, clock: VirtualClock, second: float) -> None:
    """Let time pass as it would for a worker that starts ten minutes after midnight."""
    while True:
        passed = (clock.datetime() - START).total_seconds()
        due = engine.run_until_idle().next_due if passed >= 600 else START + timedelta(seconds=600)
        target = min(second, second if due is None else (due - START).total_seconds())
        if target <= passed:
            return
        clock.advance(timedelta(seconds=target) - timedelta(seconds=passed))


@pytest.mark.parametrize(("stale", "commits", "fires"), [(False, True, True), (True, True, False), (True, False, True)])
def test_a_delay_is_void_when_its_state_moved_on_unless_it_needs_no_commit(engine, clock, stale, commits, fires):
    seen, calls = {}, Counter()

    @flow("later")
    def later(ctx):
        calls[ctx.id] += 1
        seen[ctx.id] = clock.datetime() - START
        return park(ctx) if commits else Noop()

    engine.register(later)
    ctx = StateCtx("s1")
    engine.do(commit(park(ctx)))
    if stale:
        engine.do(commit(park(ctx.copy())))
    engine.do(delay(ctx, "later", 900, commit=commits))
    engine.run_until_idle(advance=True)
    assert calls["s1"] == (1 if fires else 0)
    assert seen == ({"s1": timedelta(seconds=900)} if fires else {})
    clock.advance(timedelta(days=1))
    assert engine.run_until_idle().next_due is None
    (stored,) = engine.do(GetDelayedStates())
    assert stored.fired
    assert calls["s1"] <= 1


def test_a_delay_whose_function_raises_without_commit_is_not_repeated(engine, caplog):
    calls = Counter()

    @flow("broken")
    def broken(ctx):
        calls["broken"] += 1
        raise ValueError("no")

    engine.register(broken)
    engine.do(delay(StateCtx("s1"), "broken", 1, commit=False))
    engine.run_until_idle(advance=True)
    assert calls["broken"] == 1
    assert "a delay of State s1" in caplog.text


def test_what_the_delayed_function_sees(engine):
    seen = []

    @flow("later")
    def later(ctx):
        seen.append((ctx.id, ctx.rev > 0, ctx.annotation("k"), ctx.labels, ctx.transition.annotations["reason"]))
        seen.append(ctx.delayed_until)
        return park(ctx)

    engine.register(later)
    until = datetime(2000, 1, 1, 0, 0, 1, 5, tzinfo=UTC)
    engine.do(delay(StateCtx("s", {"l": "1"}, {"k": "v"}), "later", until, reason="timeout"))
    engine.run_until_idle(advance=True)
    assert seen == [("s", True, "v", {"l": "1"}, "timeout"), until]


def test_a_pending_delay_keeps_its_state_from_the_workers(engine, clock):
    calls = []

    @flow("work")
    def work(ctx):
        calls.append("delayed" if ctx.delayed_until else "at once")
        return commit(park(ctx))

    engine.register(work)
    ctx = StateCtx("s")
    engine.do(commit(transit(ctx, "work")), delay(ctx, "work", 600))
    clock.advance(300)
    engine.run_until_idle()
    assert calls == []
    engine.run_until_idle(advance=True)
    assert calls == ["delayed"]


def test_an_execution_that_is_done_in_time_makes_its_timeout_void(engine):
    calls = []

    @flow("work")
    def work(ctx):
        calls.append("timeout" if ctx.delayed_until else "work")
        return commit(park(ctx))

    engine.register(work)
    ctx = StateCtx("s")
    engine.do(commit(transit(ctx, "work"), delay(ctx, "work", 10)))
    engine.execute(ctx)
    engine.run_until_idle(advance=True)
    assert calls == ["work"]


@on_loop
async def test_every_delay_of_many_is_carried_out_once_by_two_workers(store):
    calls = Counter()

    @flow("later")
    async def later(ctx):
        calls[ctx.id] += 1
        return commit(park(ctx))

    async def delays(engine, i):
        for j in range(50):
            await engine.do(delay(StateCtx(f"soon-{i}-{j}"), "later", 0.05 * (i + j) / 10))
            await engine.do(delay(StateCtx(f"past-{i}-{j}"), "later", -10))

    async with AsyncEngine(store) as one, AsyncEngine(store) as two:
        for engine in (one, two):
            engine.register(later)
        async with one.worker(), two.worker():
            await asyncio.gather(*(delays(engine, i) for i, engine in enumerate([one, two] * 3)))
            watch = one.watch()
            parked = 0
            while parked < 600:
                parked += (await watch.next(20)).parked
        assert len(calls) == 600
        assert set(calls.values()) == {1}


@pytest.mark.parametrize("when", [None, "soon", float("nan"), float("inf"), True, datetime(2000, 1, 1)])  # noqa: DTZ001
def test_a_malformed_time_is_refused(engine, when):
    with pytest.raises(StepflowError, match="delay until"):
        engine.do(delay(StateCtx("s"), "later", when))


def test_delays_are_listed_by_due_time_within_a_window(engine):
    for i, second in enumerate((3, 1, 2)):
        engine.do(delay(StateCtx(f"s{i}"), "later", second))
    until = START + timedelta(seconds=3)
    found = engine.do(GetDelayedStates(until=until))
    assert [(d.state.id, d.offset, d.state.transition.to) for d in found] == [
        ("s1", 2, "later"), ("s2", 3, "later"), ("s0", 1, "later"),
    ]  # fmt: skip
    assert [d.state.id for d in engine.do(GetDelayedStates(since=START + timedelta(seconds=1), until=until))] == [
        "s2", "s0",
    ]  # fmt: skip
    assert [d.offset for d in engine.do(GetDelayedStates(until=until, offset=2))] == [3]
    assert len(engine.do(GetDelayedStates(until=until, limit=2))) == 2
    assert engine.do(GetDelayedStates()) == []
