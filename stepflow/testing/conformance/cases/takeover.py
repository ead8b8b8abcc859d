"""Takeover: the States of a worker that stops, dies or hangs are executed by another one, or fail for good."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from stepflow.drivers.port.commit import Commit as Change
from stepflow.drivers.port.commit import Enqueue, Owner, Write
from stepflow.drivers.port.store import Driver
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.blocking.states import BlockingVerbs
from stepflow.engine.clock import SystemClock, VirtualClock, microseconds
from stepflow.engine.membership.failure_detector import SILENCE_S
from stepflow.engine.states.function_runner import Parked
from stepflow.errors import StepflowError
from stepflow.model.commands import Command, Noop, commit, park, transit
from stepflow.model.ctx import StateCtx
from stepflow.model.function import HUNG_AFTER_S, FlowFunction, flow
from stepflow.model.lifecycle import Status
from stepflow.model.recovery import RETRY_AFTER
from stepflow.model.state import State, Transition
from stepflow.testing.conformance.cases.kit import WITHIN_S, Tracker, on_loop, open_engine, parking
from stepflow.testing.conformance.cases.recovery import DISABLED, HOUR, NAME, pass_time, statuses
from stepflow.testing.conformance.kit import make


def counting(calls: Counter[str]) -> FlowFunction:
    """A function that parks its State and counts its calls by id."""

    @flow(NAME)
    def fn(ctx: StateCtx) -> Command:
        calls[ctx.id] += 1
        return commit(park(ctx))

    return fn


class LeapingClock(SystemClock):
    """The machine's clock, moved forward by hand; the store's clock is not moved with it."""

    follows_store = False

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def now(self) -> int:
        return super().now() + microseconds(self._ahead_s)

    def monotonic(self) -> float:
        return super().monotonic() + self._ahead_s

    def leap(self, seconds: float) -> None:
        """Let time pass at once."""
        self._ahead_s += seconds


class SilentOwner:
    """An owner of another process that beats once and then falls silent."""

    def __init__(self, driver: Driver, clock: VirtualClock, name: str = "silent") -> None:
        self._clock = clock
        self._session = driver.connect("", Owner(name, "elsewhere", 1), clock.now())
        self._session.beat(clock.now())

    def commit(self, *ids: str, **annotations: str) -> None:
        """Commit owned States that go to the function, as a caller does before it executes them."""
        now = self._clock.now()
        for run_id in ids:
            write = Write(State(run_id, 0, Transition(NAME), {}, annotations))
            make(self._session, Change(writes=(write,), queue=(Enqueue(run_id, NAME, now, owned=True),)), now=now)

    def take(self, run_id: str, *, suspects: bool) -> None:
        """Claim a State."""
        (found,) = self._session.claim({NAME: "any"}, self._clock.now(), 1, suspects=suspects)
        assert found.fence.id == run_id

    def close(self) -> None:
        """Close the session."""
        self._session.close()


async def reclaim_silent(engine: AsyncEngine, clock: VirtualClock) -> None:
    """Let the engine reclaim the runs of owners whose beats have stopped."""
    await engine.run_until_idle()
    clock.advance(SILENCE_S)
    await engine.run_until_idle()


class TakeoverCases:
    """Recovery from workers that stop, die or hang."""

    @on_loop
    async def test_one_of_two_workers_goes_and_the_other_carries_on(self, driver: Driver) -> None:
        clock, one, two = VirtualClock(), Counter[str](), Counter[str]()
        async with (
            open_engine(driver, clock=clock) as client,
            open_engine(driver, counting(two), clock=clock) as second,
        ):
            async with open_engine(driver, counting(one), clock=clock) as first:
                for number in range(8):  # the first worker is asked first and leaves after four minutes
                    await client.do(commit(transit(StateCtx(f"s{number}"), NAME)))
                    await pass_time(clock, 30, client, first, second)
            assert 0 < len(one) < 8
            for number in range(8, 30):
                await client.do(commit(transit(StateCtx(f"s{number}"), NAME)))
                await pass_time(clock, 30, client, second)
            await pass_time(clock, 300, client, second)
            assert one + two == Counter({f"s{number}": 1 for number in range(30)})
            assert len(two) > 20

    @on_loop
    async def test_what_a_dead_worker_held_is_executed_by_another(self, driver: Driver) -> None:
        clock, calls, ids = VirtualClock(), Counter[str](), {f"s{n}" for n in range(30)}
        silent = SilentOwner(driver, clock)
        async with open_engine(driver, counting(calls), clock=clock) as engine:
            silent.commit(*ids)
            await engine.run_until_idle()
            assert calls == {}  # one missing beat proves nothing
            await reclaim_silent(engine, clock)
            assert calls == Counter(ids)
            assert await statuses(engine) == {"parked": 30}
            silent.close()

    @on_loop
    async def test_two_workers_call_each_function_once(self, driver: Driver) -> None:
        clock, calls = VirtualClock(), Counter[str]()
        async with (
            open_engine(driver, counting(calls), clock=clock) as one,
            open_engine(driver, counting(calls), clock=clock) as two,
        ):
            for number in range(30):
                ctx = StateCtx(f"s{number}")
                await one.do(commit(transit(ctx, NAME)))
                if number % 2:
                    assert await one.execute(ctx) == Parked()
            for _ in range(10):
                await pass_time(clock, 60, one, two)
                await pass_time(clock, 60, two, one)
            assert calls == Counter(f"s{number}" for number in range(30))

    @pytest.mark.parametrize(("text", "wait"), [("1m0s", 60), ("90s", 90), ("1.5m", 90), ("nonsense", 120)])
    @on_loop
    async def test_an_annotation_says_when_it_is_given_back(self, driver: Driver, text: str, wait: float) -> None:
        clock, calls = VirtualClock(), Counter[str]()
        async with open_engine(driver, counting(calls), clock=clock) as engine:
            await engine.do(commit(transit(StateCtx("s", {}, {RETRY_AFTER: text}), NAME)))
            await pass_time(clock, wait - 0.000_001, engine)
            assert calls == {}
            clock.advance(0.000_001)
            await engine.run_until_idle()
            assert calls == {"s": 1}

    @on_loop
    async def test_a_state_with_recovery_disabled_is_left_alone_when_its_process_dies(self, driver: Driver) -> None:
        clock, calls = VirtualClock(), Counter[str]()
        silent = SilentOwner(driver, clock)
        async with open_engine(driver, counting(calls), clock=clock) as engine:
            silent.commit("dead", **DISABLED)
            await reclaim_silent(engine, clock)
            await pass_time(clock, 600, engine)
            assert calls == {}
            ctx = await engine.get_state("dead")
            assert ctx.transition.to == NAME
            assert await engine.execute(ctx) == Parked()  # any caller may execute it
            assert calls == {"dead": 1}
            silent.close()

    @on_loop
    async def test_a_state_that_takes_its_processes_down_ends_with_the_reason_and_can_be_redriven(
        self, driver: Driver
    ) -> None:
        clock, calls = VirtualClock(), Counter[str]()
        async with open_engine(driver, counting(calls), clock=clock) as engine:
            run = await engine.start(counting(calls), id="s")
            for number in range(3):
                silent = SilentOwner(driver, clock, f"silent{number}")
                silent.take("s", suspects=number >= 2)
                async with open_engine(driver, clock=clock) as observer:
                    await reclaim_silent(observer, clock)
                silent.close()
            assert (await engine.run_until_idle()).failed == 1
            assert calls == {}
            info = await run.info()
            assert (info.status, info.to) == (Status.FAILED, NAME)
            assert info.error is not None
            assert info.error.type == "Crashed"
            assert f"3 processes died while they held this run at {NAME}" in info.error.message
            assert [i.id for i in await engine.runs(status="failed")] == ["s"]
            clock.advance(HOUR)
            await engine.run_until_idle()
            assert calls == {}  # a dead letter stays one
            await run.redrive()
            await engine.run_until_idle()
            assert (calls, await run.status()) == ({"s": 1}, Status.PARKED)

    @on_loop
    async def test_a_function_that_hangs_for_two_minutes_loses_its_claim_and_its_late_commit(
        self, driver: Driver
    ) -> None:
        track, going_on, late, clock = Tracker(), threading.Event(), list[str](), LeapingClock()

        @flow("hangs")
        def hangs(ctx: StateCtx, engine: BlockingVerbs) -> Command:
            track(ctx)
            if track.count("hangs") > 1:
                return commit(park(ctx, who="second"))
            assert going_on.wait(WITHIN_S)
            try:
                engine.do(commit(park(ctx, who="first")))
            except StepflowError as error:
                late.append(type(error).__name__)
            track.note("late")
            return Noop()

        async with open_engine(driver, hangs, parking("quick", track), clock=clock) as engine:
            try:
                run = await engine.start(hangs)
                await track.until(1)
                clock.leap(HUNG_AFTER_S / 2)
                await engine.start(parking("quick", track))
                assert await track.until(2) == ["hangs", "quick"]  # the worker looked, and was patient
                clock.leap(HUNG_AFTER_S / 2)
                assert await track.until(3) == ["hangs", "quick", "hangs"]
                watch = engine.watch(since="latest")
                while (state := await watch.next(WITHIN_S)) is not None and (state.id, state.parked) != (run.id, True):
                    pass
            finally:
                going_on.set()
            await track.until(4)
            assert late in (["RevMismatch"], ["LostClaim"])
            assert (await engine.get_state(run.id)).annotation("who") == "second"
