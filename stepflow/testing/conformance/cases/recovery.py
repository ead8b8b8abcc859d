"""Recovery by scenarios: a committed State whose execution did not end is executed again, when due, at most as often as allowed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
from attrs import frozen

from stepflow.drivers.port.store import Driver
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.clock import VirtualClock
from stepflow.engine.states.function_runner import Conflict, Parked
from stepflow.model.commands import Command, Noop, commit, park, transit
from stepflow.model.ctx import StateCtx
from stepflow.model.function import FlowFunction, flow
from stepflow.model.recovery import ENABLED, MAX_ATTEMPTS, RETRY_AFTER
from stepflow.model.state import EMPTY
from stepflow.testing.conformance.cases.kit import on_loop, open_engine

HOUR = 3600
TICK = 30
NAME = "aFlow"


@frozen
class Given:
    """States that are committed `every_s` seconds apart, and what their caller does with them afterwards.

    The caller executes them `after_s` seconds later, all but every `but`-th; None: none of them.
    """

    count: int
    annotations: Mapping[str, str] = EMPTY
    after_s: float | None = None
    but: int = 0
    every_s: float = 0
    parked: bool = False
    idle: bool = False


@frozen
class Then:
    """How often the function was called by the caller and by workers, and what became of the States."""

    by_caller: int
    by_worker: int
    statuses: Mapping[str, int]
    conflicts: int = 0


DISABLED, MINUTE = {ENABLED: "false"}, {RETRY_AFTER: "1m0s"}
SCENARIOS: dict[str, tuple[Given, Then]] = {
    "nothing": (Given(0), Then(0, 0, {})),
    "disabled and executed": (Given(100, DISABLED, after_s=0), Then(100, 0, {"parked": 100})),
    "disabled and not executed": (Given(10, DISABLED), Then(0, 0, {"parked": 10})),
    "parked": (Given(100, parked=True), Then(0, 0, {"parked": 100})),
    "one that is not executed by its caller": (Given(1), Then(0, 1, {"parked": 1})),
    "all but every fifth executed": (Given(100, after_s=0, but=5), Then(80, 20, {"parked": 100})),
    "one that never gets on": (Given(1, idle=True), Then(0, 3, {"failed": 1})),
    "one that may be tried four times": (Given(1, {MAX_ATTEMPTS: "4"}, idle=True), Then(0, 4, {"failed": 1})),
    "one each half minute": (Given(30, every_s=30), Then(0, 30, {"parked": 30})),
    "many": (Given(150, after_s=0), Then(150, 0, {"parked": 150})),
    "executed before two minutes": (Given(10, after_s=110), Then(10, 0, {"parked": 10})),
    "executed after two minutes": (Given(10, after_s=150), Then(10, 10, {"parked": 10}, conflicts=10)),
    "executed before a minute": (Given(10, MINUTE, after_s=50), Then(10, 0, {"parked": 10})),
    "executed after a minute": (Given(10, MINUTE, after_s=90), Then(10, 10, {"parked": 10}, conflicts=10)),
}
"""The origin's scenarios; where it parks what it gave up, the State is a dead letter here, with its reason."""


class Caller:
    """Commits States and executes them; counts who called their function."""

    def __init__(self, engine: AsyncEngine, given: Given) -> None:
        self._engine, self._given = engine, given
        self._executing = False
        self.calls: Counter[str] = Counter()
        self.conflicts = 0
        self.states = [StateCtx(f"s{n}", {}, dict(given.annotations)) for n in range(given.count)]

    def function(self) -> FlowFunction:
        """The function that the States go to."""

        @flow(NAME)
        def fn(ctx: StateCtx) -> Command:
            self.calls["caller" if self._executing else "worker"] += 1
            return Noop() if self._given.idle else commit(park(ctx))

        return fn

    async def commit(self, clock: VirtualClock) -> None:
        """Commit all States, and let time pass between them."""
        for ctx in self.states:
            await self._engine.do(commit(park(ctx) if self._given.parked else transit(ctx, NAME)))
            await pass_time(clock, self._given.every_s, self._engine)

    async def execute(self) -> None:
        """Execute those that are to be executed."""
        self._executing = True
        for number, ctx in enumerate(self.states):
            if not self._given.but or number % self._given.but:
                outcome = await self._engine.execute(ctx)
                assert outcome in (Parked(), Conflict((ctx.id,)))
                self.conflicts += outcome != Parked()
        self._executing = False


async def pass_time(clock: VirtualClock, seconds: float, *engines: AsyncEngine) -> None:
    """Let time pass in ticks; after each of them every engine works until it is idle."""
    while seconds > 0:
        clock.advance(min(TICK, seconds))
        seconds -= TICK
        for engine in engines:
            await engine.run_until_idle()


async def statuses(engine: AsyncEngine) -> dict[str, int]:
    """How many States have which status, whatever flow they go to."""
    total: Counter[str] = Counter()
    for counts in (await engine.tally()).values():
        total.update(counts)
    return dict(total)


class RecoveryCases:
    """Recovery, an hour of virtual time long."""

    @pytest.mark.parametrize("name", SCENARIOS)
    @on_loop
    async def test_recovery_scenario(self, driver: Driver, name: str) -> None:
        given, then = SCENARIOS[name]
        clock = VirtualClock()
        async with open_engine(driver, clock=clock) as engine:
            caller = Caller(engine, given)
            engine.register(caller.function())
            await caller.commit(clock)
            if given.after_s is not None:
                await pass_time(clock, given.after_s, engine)
                await caller.execute()
            await pass_time(clock, 15 * 60, engine)
            clock.advance(HOUR)
            assert (await engine.run_until_idle()).next_due is None
            assert caller.calls == Counter(caller=then.by_caller, worker=then.by_worker)
            assert caller.conflicts == then.conflicts
            assert await statuses(engine) == then.statuses
            if not given.idle and not given.annotations.get(ENABLED):
                moves = Counter(state.id for state in [s async for s in engine.iterate()])
                assert set(moves.values()) <= {1 if given.parked else 2}  # a late execution wrote nothing
