"""Cases 17 and 18, and what delays promise beyond them: exact times, void when the State moved on, each carried out once."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import cycle, product

import pytest

from stepflow.drivers.port.delays import Delay
from stepflow.drivers.port.store import Driver
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.clock import SystemClock, VirtualClock, moment
from stepflow.engine.states.api import AsyncVerbs
from stepflow.engine.states.function_runner import Delayed
from stepflow.model.commands import Command, Execute, GetDelayedStates, Noop, commit, delay, park, transit
from stepflow.model.ctx import StateCtx
from stepflow.model.function import FlowFunction, flow
from stepflow.testing.conformance.cases.kit import WITHIN_S, Tracker, on_loop, open_engine, parking

START = datetime(2000, 1, 1, tzinfo=UTC)
FAR = datetime(9000, 1, 1, tzinfo=UTC)
MINUTE = 60
BEGIN, END = 10 * MINUTE, 30 * MINUTE  # when the worker is there
WORKERS, EACH = 10, 50

Given = Sequence[tuple[float, float]]
TABLE: dict[str, tuple[Given, Sequence[float]]] = {
    "before the worker was there": ([(0, 60), (0, 120), (0, 180)], [600, 600, 600]),
    "a minute each": ([(840, 60), (900, 60), (960, 60)], [900, 960, 1020]),
    "in the past": ([(840, -300), (900, -300), (960, -300)], [840, 900, 960]),
    "mixed": ([(900, 300), (900, 300), (900, -300)], [1200, 1200, 900]),
    "beyond the end": ([(0, 1860), (0, 1860), (0, 1860)], []),
    "one microsecond": ([(900, 0.000_001)], [900.000_001]),
}
"""Name -> (second at which it is set, seconds of the delay) of each, and the seconds at which they are executed."""


def _passed(clock: VirtualClock) -> float:
    return (clock.datetime() - START).total_seconds()


def _noting(clock: VirtualClock, seen: dict[str, float], *, commits: bool = True) -> FlowFunction:
    @flow("later")
    def later(ctx: StateCtx) -> Command:
        assert ctx.id not in seen
        seen[ctx.id] = _passed(clock)
        return commit(park(ctx)) if commits else Noop()

    return later


async def _advance_to(engine: AsyncEngine, clock: VirtualClock, second: float) -> None:
    """Let time pass up to then, with a worker that is there from BEGIN on."""
    while True:
        due = (await engine.run_until_idle()).next_due if _passed(clock) >= BEGIN else START + timedelta(seconds=BEGIN)
        target = min(second, second if due is None else (due - START).total_seconds())
        if target <= _passed(clock):
            return
        clock.advance(timedelta(seconds=target) - timedelta(seconds=_passed(clock)))


async def _advance_all(engines: Iterator[AsyncEngine], clock: VirtualClock, second: float) -> None:
    """Let time pass up to then; whenever a delay is due another one of the engines works."""
    while True:
        due = (await next(engines).run_until_idle()).next_due
        target = second if due is None else min(second, (due - START).total_seconds())
        clock.advance(timedelta(seconds=target) - timedelta(seconds=_passed(clock)))
        if target >= second:
            return


async def _set_delays(engine: AsyncEngine, worker: int, wait: float, name: str) -> None:
    for number in range(EACH):
        await engine.do(delay(StateCtx(f"{name}-{worker}-{number}"), "later", wait))


async def _all_delays(engine: AsyncEngine) -> list[Delay]:
    found = await engine.do(GetDelayedStates(until=FAR, limit=10_000))
    assert isinstance(found, list)
    return found


async def _see_parked(engine: AsyncEngine, count: int) -> None:
    """Wait until so many revisions are there that go nowhere."""
    watch, seen = engine.watch(), 0
    while seen < count:
        state = await watch.next(WITHIN_S)
        assert state is not None, seen
        seen += state.parked


class TimerCases:
    """Timers: the cases, and the delay scenarios of the origin at exact times."""

    @on_loop
    async def test_case_17_delay(self, driver: Driver) -> None:
        track, clock = Tracker(), VirtualClock(START)

        @flow("first")
        def first(ctx: StateCtx) -> Command:
            track(ctx)
            return transit(ctx, "second") if ctx.delayed_until else delay(ctx, "first", 0.2)

        async with open_engine(driver, first, parking("second", track), clock=clock) as engine:
            ctx = StateCtx("aTID")
            await engine.do(transit(ctx, "first"))
            assert await engine.execute(ctx) == Delayed()
            assert (await engine.states()).states == ()
            assert (await engine.run_until_idle()).next_due == START + timedelta(seconds=0.2)
            assert track.visited == ["first"]
            await engine.run_until_idle(advance=True)
            fired = await engine.watch().next(WITHIN_S)
            assert fired is not None
            assert (fired.id, fired.transition.to) == ("aTID", "first")  # it was created by its delay
        assert track.visited == ["first", "first", "second"]
        assert _passed(clock) == 0.2

    @on_loop
    async def test_case_17_delay_in_real_time(self, driver: Driver) -> None:
        track = Tracker()

        @flow("first")
        async def first(ctx: StateCtx) -> Command:
            track(ctx)
            return transit(ctx, "second") if ctx.delayed_until else delay(ctx, "first", 0.2)

        async with open_engine(driver, first, parking("second", track)) as engine:
            ctx = StateCtx("aTID")
            await engine.do(transit(ctx, "first"), Execute(ctx))
            await track.until(3)
        assert track.visited == ["first", "first", "second"]

    @on_loop
    async def test_case_18_cron(self, driver: Driver) -> None:
        track, clock = Tracker(), VirtualClock(START)

        @flow("cron")
        async def cron(ctx: StateCtx, engine: AsyncVerbs) -> Command:
            # Delays are exact here, so the first of the next two times is now, in the origin somewhat later.
            assert ctx.annotation("cron") == "* * * * * * *"
            first = clock.datetime()
            track.note(f"cron {first.second}")
            task = StateCtx(f"task_{first.second}")
            again = delay(ctx, "cron", first + timedelta(seconds=1))
            move = transit(task, ctx.annotation("cron_task_flow_id"))
            await engine.do(commit(park(ctx), again, move), Execute(task))
            return Noop()

        task = parking("task", lambda _ctx: track.note(f"task {clock.datetime().second}"), commits=True)
        async with open_engine(driver, cron, task, clock=clock) as engine:
            ctx = StateCtx("aTID", annotations={"cron": "* * * * * * *", "cron_task_flow_id": "task"})
            await engine.do(commit(transit(ctx, "cron")))
            await engine.execute(ctx)
            for _ in range(2):
                await engine.run_until_idle()
                clock.advance(1)
            await engine.run_until_idle()
            last = (await engine.states(latest_only=True)).states
            assert {state.id for state in last} == {"aTID", "task_0", "task_1", "task_2"}
            assert all(state.parked for state in last)
        assert track.visited == ["cron 0", "task 0", "cron 1", "task 1", "cron 2", "task 2"]

    @pytest.mark.parametrize("name", TABLE)
    @on_loop
    async def test_delays_are_executed_at_their_time(self, driver: Driver, name: str) -> None:
        (given, expected), clock, seen = TABLE[name], VirtualClock(START), dict[str, float]()
        async with open_engine(driver, _noting(clock, seen), clock=clock) as engine:
            for number, (at, wait) in enumerate(given):
                await _advance_to(engine, clock, at)
                await engine.do(delay(StateCtx(f"s{number}"), "later", timedelta(seconds=wait)))
            await _advance_to(engine, clock, END)
            assert sum(d.fired for d in await _all_delays(engine)) == len(expected)
        assert [seen[key] for key in sorted(seen)] == expected

    @pytest.mark.parametrize(
        ("stale", "commits", "fires"), [(False, True, True), (True, True, False), (True, False, True)]
    )
    @on_loop
    async def test_a_delay_is_void_when_its_state_moved_on_unless_it_needs_no_commit(
        self, driver: Driver, stale: bool, commits: bool, fires: bool
    ) -> None:
        clock, seen = VirtualClock(START), dict[str, float]()
        async with open_engine(driver, _noting(clock, seen, commits=commits), clock=clock) as engine:
            ctx = StateCtx("s1")
            await engine.do(commit(park(ctx) if stale else transit(ctx, "later")))
            if stale:
                await engine.do(commit(park(ctx.copy())))
            await engine.do(delay(ctx, "later", 15 * MINUTE, commit=commits))
            await engine.run_until_idle(advance=True)
            assert seen == ({"s1": 15 * MINUTE} if fires else {})
            clock.advance(timedelta(days=1))
            assert (await engine.run_until_idle()).next_due is None  # nothing of a void one is left behind
            assert [d.fired for d in await _all_delays(engine)] == [True]

    @on_loop
    async def test_a_delay_far_away_does_not_hide_those_that_come_earlier(self, driver: Driver) -> None:
        clock, seen = VirtualClock(START), dict[str, float]()
        async with open_engine(driver, _noting(clock, seen), clock=clock) as engine:
            for name, wait in (("hour", 3600), ("second", 1), ("minute", 60)):
                await engine.do(delay(StateCtx(name), "later", wait))
            await engine.run_until_idle(advance=True)
        assert seen == {"second": 1, "minute": 60, "hour": 3600}
        assert list(seen) == ["second", "minute", "hour"]

    @on_loop
    async def test_more_delays_than_a_page_are_carried_out_behind_as_many_void_ones(self, driver: Driver) -> None:
        calls, void, many = Counter[str](), 1001, 501

        @flow("later")
        async def later(ctx: StateCtx) -> Command:
            calls[ctx.id] += 1
            return commit(park(ctx))

        async with open_engine(driver) as engine:
            states = [StateCtx(f"void{i}") for i in range(void)]
            await engine.do(commit(*map(park, states)))
            await engine.do(commit(*(delay(ctx, "later", 0) for ctx in states)), commit(*map(park, states)))
            await engine.do(commit(*(delay(StateCtx(f"s{i}"), "later", 0) for i in range(many))))
        async with open_engine(driver, later) as engine:
            await _see_parked(engine, 2 * void + many)
            assert all(d.fired for d in await _all_delays(engine))
        assert calls == {f"s{i}": 1 for i in range(many)}

    @on_loop
    async def test_every_one_of_a_thousand_delays_is_executed_once(self, driver: Driver) -> None:
        early, calls, guard = [], Counter[str](), threading.Lock()

        @flow("later")
        async def later(ctx: StateCtx) -> Command:
            with guard:
                calls[ctx.id] += 1
                if ctx.delayed_until is None or ctx.delayed_until > moment(SystemClock().now()):
                    early.append(ctx.id)
            return commit(park(ctx))

        async with open_engine(driver, later) as one, open_engine(driver, later) as two:
            setting = [_set_delays((one, two)[i % 2], i, 0.3, "soon") for i in range(WORKERS)]
            setting += [_set_delays((one, two)[i % 2], i, -10, "past") for i in range(WORKERS)]
            await asyncio.gather(*setting)
            await _see_parked(one, 2 * WORKERS * EACH)
            assert all(d.fired for d in await _all_delays(one))
        assert (len(calls), set(calls.values()), early) == (2 * WORKERS * EACH, {1}, [])

    @on_loop
    async def test_delays_of_many_workers_are_executed_once_each_at_its_time(self, driver: Driver) -> None:
        clock, seen, expected, few = VirtualClock(START), dict[str, float](), dict[str, float](), 3
        moments = []
        for worker, wait in product(range(WORKERS), (60, -10)):
            at = 0.0
            for number in range(few):
                at += 10 + worker + number  # seconds that it pauses
                run_id = f"s{worker}-{number}{wait}"
                moments.append((at, run_id, wait))
                expected[run_id] = at + max(0, wait)
        later = _noting(clock, seen)
        async with open_engine(driver, later, clock=clock) as one, open_engine(driver, later, clock=clock) as two:
            engines = cycle((one, two))
            for at, run_id, wait in sorted(moments):
                await _advance_all(engines, clock, at)
                await next(engines).do(delay(StateCtx(run_id), "later", wait))
            await _advance_all(engines, clock, 40 * MINUTE)
        assert seen == expected
