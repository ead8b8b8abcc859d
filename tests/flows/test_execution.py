"""Flow functions one after another: conditions, forks, calls of other flows with and without commits."""

from __future__ import annotations

import pytest

from stepflow import (
    AsyncEngine,
    Done,
    Execute,
    Noop,
    NotFound,
    Parked,
    Stack,
    StateCtx,
    Unstack,
    commit,
    flow,
    park,
    transit,
)
from tests.flows.tracker import on_loop


def chain_of(track, *names, commits=False):
    """Flow functions that go from one to the next; the last one parks."""

    def make(name, following):
        @flow(name)
        def fn(ctx):
            track(ctx)
            if following is None:
                return park(ctx)
            return commit(transit(ctx, following)) if commits else transit(ctx, following)

        return fn

    return [make(name, following) for name, following in zip(names, [*names[1:], None], strict=True)]


@pytest.mark.parametrize("names", [["first"], ["first", "second"], ["first", "second", "third"]], ids=len)
@on_loop
async def test_functions_follow_each_other_in_memory(store, track, names):
    async with AsyncEngine(store) as engine:
        engine.register(*chain_of(track, *names))
        ctx = StateCtx("aTID")
        await engine.do(transit(ctx, "first"))
        assert await engine.execute(ctx) == Parked()
        assert track.visited == names
        with pytest.raises(NotFound):
            await engine.get_state("aTID")


@on_loop
async def test_two_with_commits(store, track):
    async with AsyncEngine(store) as engine:
        engine.register(*chain_of(track, "first", "second", commits=True))
        ctx = StateCtx("aTID")
        await engine.do(commit(transit(ctx, "first")))
        assert await engine.execute(ctx) == Parked()
        assert track.visited == ["first", "second"]
        history = [state.transition.to for state in (await engine.states()).states]
        assert history == ["first", "second", ""]  # what the last one returned is kept with the claim


@pytest.mark.parametrize(("condition", "then"), [("true", "second"), ("false", "third")])
@on_loop
async def test_a_condition(store, track, condition, then):
    @flow("first")
    def first(ctx):
        track(ctx)
        return transit(ctx, "second" if ctx.annotation("condition") == "true" else "third")

    async with AsyncEngine(store) as engine:
        engine.register(first, *chain_of(track, "second"), *chain_of(track, "third"))
        ctx = StateCtx("aTID", annotations={"condition": condition})
        await engine.do(transit(ctx, "first"))
        assert await engine.execute(ctx) == Parked()
        assert track.visited == ["first", then]


@pytest.mark.parametrize("commits", [False, True], ids=["memory", "commit"])
@on_loop
async def test_a_fork(store, track, commits):
    @flow("fork")
    async def fork(ctx, engine):
        track(ctx)
        forked = ctx.fork("forkedTID")
        moves = transit(ctx, "origin"), transit(forked, "forked")
        await engine.do(*((commit(*moves),) if commits else moves), Execute(ctx), Execute(forked))
        return Noop()

    async with AsyncEngine(store) as engine:
        engine.register(fork, *chain_of(track, "origin"), *chain_of(track, "forked"))
        ctx = StateCtx("aTID")
        await engine.do(transit(ctx, "fork"))
        assert await engine.execute(ctx) == Done()
        assert sorted(await track.until(3)) == ["fork", "forked", "origin"]
        if commits:
            ids = {state.id for state in (await engine.states()).states}
            assert ids == {"aTID", "forkedTID"}


def call_flows(track, commits):
    """`call` puts itself away, lets `called` run, and is resumed by the end of that."""

    @flow("call")
    def call(ctx, engine):
        track(ctx)
        if ctx.annotation("state") == "resumed":
            return transit(ctx, "callEnd")
        called = StateCtx("aNextTID" if commits else ctx.id)
        moves = park(ctx), Stack(called, ctx, "caller_state"), transit(called, "called")
        engine.do(*((commit(*moves),) if commits else moves), Execute(called))
        return Noop()

    @flow("called")
    async def called(ctx):
        track(ctx)
        return transit(ctx, "calledEnd")

    @flow("calledEnd")
    async def called_end(ctx, engine):
        track(ctx)
        caller = StateCtx("")
        moves = Unstack(ctx, caller, "caller_state"), transit(caller, "call", state="resumed"), park(ctx)
        await engine.do(*((commit(*moves),) if commits else moves), Execute(caller))
        return Noop()

    return [call, called, called_end, *chain_of(track, "callEnd")]


@pytest.mark.parametrize("commits", [False, True], ids=["memory", "commit"])
@on_loop
async def test_a_call_of_another_flow(store, track, commits):
    async with AsyncEngine(store) as engine:
        engine.register(*call_flows(track, commits))
        ctx = StateCtx("aTID")
        await engine.do(transit(ctx, "call"))
        assert await engine.execute(ctx) == Done()
        assert await track.until(5) == ["call", "called", "calledEnd", "call", "callEnd"]


@on_loop
async def test_a_call_that_watches_for_the_end_of_the_other(store, track):
    @flow("call")
    async def call(ctx, engine):
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

    @flow("called")
    def called(ctx):
        track(ctx)
        return transit(ctx, "calledEnd")

    @flow("calledEnd")
    def called_end(ctx):
        track(ctx)
        return commit(park(ctx))

    async with AsyncEngine(store) as engine:
        engine.register(call, called, called_end, *chain_of(track, "callEnd"))
        ctx = StateCtx("aTID")
        await engine.do(transit(ctx, "call"))
        assert await engine.execute(ctx) == Parked()
        assert track.visited == ["call", "called", "calledEnd", "callEnd"]


@pytest.mark.parametrize("wins", [1, 3], ids=["first wins", "last wins"])
@on_loop
async def test_fork_and_join(store, track, wins):
    label = {"theForkJoinLabel": "aTID"}

    @flow("fork")
    def fork(ctx, engine):
        track(ctx)
        ctx.labels.update(label)
        forks = [ctx.copy(), ctx.fork("forkedTID"), ctx.fork("forkedTwoTID")]
        engine.do(commit(*(transit(forked, "forked") for forked in forks)), *map(Execute, forks))
        return Noop()

    @flow("forked")
    def forked(ctx):
        track(ctx)
        return transit(ctx, "join")

    @flow("join")
    async def join(ctx, engine):
        track(ctx)
        if ctx.committed.transition.to != "join":
            await engine.do(commit(transit(ctx, "join")))
        count = 0
        async for state in engine.watch(label):
            count += state.transition.to == "join"
            if state.id == ctx.id and state.transition.to == "join":
                return commit(transit(ctx, "joined") if count == wins else park(ctx))

    async with AsyncEngine(store) as engine:
        engine.register(fork, forked, join, *chain_of(track, "joined"))
        ctx = StateCtx("aTID")
        await engine.do(transit(ctx, "fork"))
        assert await engine.execute(ctx) == Done()
        assert sorted(await track.until(8)) == ["fork"] + ["forked"] * 3 + ["join"] * 3 + ["joined"]
