"""Cases 1 to 10: one flow function after another, conditions, forks, and calls of other flows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest

from stepflow.drivers.port.store import Driver
from stepflow.engine.blocking.states import BlockingVerbs
from stepflow.engine.states.api import AsyncVerbs
from stepflow.engine.states.function_runner import Done, Parked
from stepflow.errors import NotFound
from stepflow.model.commands import Command, Execute, Noop, Stack, Unstack, commit, park, transit
from stepflow.model.ctx import StateCtx
from stepflow.model.function import FlowFunction, flow
from stepflow.testing.conformance.cases.kit import Tracker, going, on_loop, open_engine, parking, together


def chain(track: Tracker, *names: str, commits: bool = False) -> list[FlowFunction]:
    """Flow functions that go from one to the next; the last one parks without a commit."""
    moves = [going(name, to, track, commits=commits) for name, to in pairwise(names)]
    return [*moves, parking(names[-1], track)]


async def _in_memory(driver: Driver, names: Sequence[str]) -> None:
    track = Tracker()
    async with open_engine(driver, *chain(track, *names)) as engine:
        ctx = StateCtx("aTID")
        await engine.do(transit(ctx, names[0]))
        assert await engine.execute(ctx) == Parked()
        with pytest.raises(NotFound):
            await engine.get_state("aTID")
        assert (await engine.states()).states == ()
    assert track.visited == list(names)


def _forking(track: Tracker, *, commits: bool) -> FlowFunction:
    @flow("fork")
    async def fork(ctx: StateCtx, engine: AsyncVerbs) -> Command:
        track(ctx)
        forked = ctx.fork("forkedTID")
        moves = together(commits, transit(ctx, "origin"), transit(forked, "forked"))
        await engine.do(*moves, Execute(ctx), Execute(forked))
        for executed in (ctx, forked):
            executed.annotations["late"] = "these are executed as copies"
        return Noop()

    return fork


async def _fork(driver: Driver, *, commits: bool) -> None:
    track = Tracker()

    def visit(ctx: StateCtx) -> None:
        assert "late" not in ctx.annotations
        track(ctx)

    flows = _forking(track, commits=commits), parking("origin", visit), parking("forked", visit)
    async with open_engine(driver, *flows) as engine:
        ctx = StateCtx("aTID")
        await engine.do(transit(ctx, "fork"))
        assert await engine.execute(ctx) == Done()
        await track.until(3)
        found = (await engine.states(limit=10)).states
        assert {state.id for state in found} == ({"aTID", "forkedTID"} if commits else set())
    assert sorted(track.visited) == ["fork", "forked", "origin"]


def _calling(track: Tracker, *, commits: bool) -> list[FlowFunction]:
    """`call` puts itself away in the State that it sends to `called`, and is resumed by the end of that."""

    @flow("call")
    def call(ctx: StateCtx, engine: BlockingVerbs) -> Command:
        track(ctx)
        if ctx.annotation("state") == "resumed":
            return transit(ctx, "callEnd")
        called = StateCtx("aNextTID" if commits else ctx.id)
        moves = together(commits, park(ctx), Stack(called, ctx, "caller_state"), transit(called, "called"))
        engine.do(*moves, Execute(called))
        return Noop()

    @flow("calledEnd")
    async def called_end(ctx: StateCtx, engine: AsyncVerbs) -> Command:
        track(ctx)
        caller = StateCtx("")
        back = Unstack(ctx, caller, "caller_state"), transit(caller, "call", state="resumed"), park(ctx)
        await engine.do(*together(commits, *back), Execute(caller))
        return Noop()

    return [call, going("called", "calledEnd", track), called_end, parking("callEnd", track)]


async def _call(driver: Driver, *, commits: bool) -> None:
    track = Tracker()
    async with open_engine(driver, *_calling(track, commits=commits)) as engine:
        ctx = StateCtx("aTID")
        await engine.do(transit(ctx, "call"))
        assert await engine.execute(ctx) == Done()
        await track.until(5)
    assert track.visited == ["call", "called", "calledEnd", "call", "callEnd"]


class ExecutionCases:
    """Execution: in memory and with commits."""

    @on_loop
    async def test_case_01_single_node(self, driver: Driver) -> None:
        await _in_memory(driver, ["first"])

    @on_loop
    async def test_case_02_two_consequent_nodes(self, driver: Driver) -> None:
        await _in_memory(driver, ["first", "second"])

    @on_loop
    async def test_case_03_three_consequent_nodes(self, driver: Driver) -> None:
        await _in_memory(driver, ["first", "second", "third"])

    @on_loop
    async def test_case_04_two_consequent_nodes_with_commit(self, driver: Driver) -> None:
        track = Tracker()
        async with open_engine(driver, *chain(track, "first", "second", commits=True)) as engine:
            ctx = StateCtx("aTID")
            await engine.do(commit(transit(ctx, "first")))
            assert await engine.execute(ctx) == Parked()
            # What the last function only moved in memory is kept with the claim, so that no worker calls it again.
            assert [state.transition.to for state in (await engine.states()).states] == ["first", "second", ""]
        assert track.visited == ["first", "second"]

    @pytest.mark.parametrize(
        ("id_", "condition", "then"), [("aTrueTID", "true", "second"), ("aFalseTID", "false", "third")]
    )
    @on_loop
    async def test_case_05_condition(self, driver: Driver, id_: str, condition: str, then: str) -> None:
        track = Tracker()

        @flow("first")
        def first(ctx: StateCtx) -> Command:
            track(ctx)
            return transit(ctx, "second" if ctx.annotation("condition") == "true" else "third")

        async with open_engine(driver, first, parking("second", track), parking("third", track)) as engine:
            ctx = StateCtx(id_, annotations={"condition": condition})
            await engine.do(transit(ctx, "first"))
            assert await engine.execute(ctx) == Parked()
        assert track.visited == ["first", then]

    @on_loop
    async def test_case_06_fork(self, driver: Driver) -> None:
        await _fork(driver, commits=False)

    @on_loop
    async def test_case_07_fork_with_commit(self, driver: Driver) -> None:
        await _fork(driver, commits=True)

    @on_loop
    async def test_case_08_call_flow(self, driver: Driver) -> None:
        await _call(driver, commits=False)

    @on_loop
    async def test_case_09_call_flow_with_commit(self, driver: Driver) -> None:
        await _call(driver, commits=True)

    @on_loop
    async def test_case_10_call_flow_with_watch(self, driver: Driver) -> None:
        track = Tracker()

        @flow("call")
        async def call(ctx: StateCtx, engine: AsyncVerbs) -> Command:
            track(ctx)
            if ctx.annotation("called") != "true":
                ctx.annotations["called"] = "true"
                called = StateCtx("aNextTID", labels={"theWatchLabel": ctx.id})
                await engine.do(commit(transit(ctx, "call"), transit(called, "called")), Execute(called))
            async for state in engine.watch({"theWatchLabel": ctx.id}, since=ctx.committed.rev):
                if state.parked:
                    break
            del ctx.annotations["called"]
            return commit(transit(ctx, "callEnd"))

        flows = (
            going("called", "calledEnd", track),
            parking("calledEnd", track, commits=True),
            parking("callEnd", track),
        )
        async with open_engine(driver, call, *flows) as engine:
            ctx = StateCtx("aTID")
            await engine.do(transit(ctx, "call"))
            assert await engine.execute(ctx) == Parked()
            assert "called" not in (await engine.get_state("aTID")).annotations
        assert track.visited == ["call", "called", "calledEnd", "callEnd"]
