"""Executions that no caller awaits are bounded: a caller waits for a free slot, an execution is refused."""

from __future__ import annotations

import asyncio

import pytest

from stepflow import AsyncEngine, Execute, StateCtx, StepflowError, commit, flow, park, transit
from stepflow.engine.states import executions
from stepflow.testing.conformance.cases.kit import on_loop

WAIT_S = 60.0


@pytest.fixture(autouse=True)
def two_slots(monkeypatch):
    monkeypatch.setattr(executions, "MAX_BACKGROUND", 2)


async def begin(engine, name, to):
    ctx = StateCtx(name, {"id": name})
    await engine.do(commit(transit(ctx, to)), Execute(ctx))


@on_loop
async def test_a_caller_waits_until_an_execution_has_ended():
    go_on, last, begun = asyncio.Event(), asyncio.Event(), []

    @flow("slow")
    async def slow(ctx):
        begun.append(ctx.id)
        if ctx.id == "c":
            last.set()
        await go_on.wait()
        return commit(park(ctx))

    async with AsyncEngine("memory://") as engine:
        engine.register(slow)
        for name in ("a", "b"):
            await asyncio.wait_for(begin(engine, name, "slow"), WAIT_S)
        third = asyncio.create_task(begin(engine, "c", "slow"))
        assert await engine.watch({"id": "c"}).next(WAIT_S)  # committed, and now it waits for a slot
        assert not third.done()
        assert "c" not in begun
        go_on.set()
        await asyncio.wait_for(third, WAIT_S)
        await asyncio.wait_for(last.wait(), WAIT_S)


@on_loop
async def test_an_execution_is_refused_because_all_might_wait_for_each_other():
    go_on, begun, refused = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop().create_future()

    @flow("slow")
    async def slow(ctx):
        begun.set()
        await go_on.wait()
        return commit(park(ctx))

    @flow("parent")
    async def parent(ctx, engine):
        await begun.wait()
        child = StateCtx("child")
        await engine.do(commit(transit(child, "slow")))
        try:
            await engine.do(Execute(child))
        except StepflowError as error:
            refused.set_result(str(error))
        return commit(park(ctx))

    async with AsyncEngine("memory://") as engine:
        engine.register(slow, parent)
        await begin(engine, "a", "slow")
        await begin(engine, "b", "parent")
        assert "2 executions run in the background already" in await asyncio.wait_for(refused, WAIT_S)
        go_on.set()


@on_loop
async def test_what_waits_for_a_slot_ends_with_the_engine():
    @flow("endless")
    async def endless(ctx, engine):
        async for _state in engine.watch(since="latest"):
            pass

    async with AsyncEngine("memory://") as engine:
        engine.register(endless)
        for name in ("a", "b"):
            await begin(engine, name, "endless")
        third = asyncio.create_task(begin(engine, "c", "endless"))
        assert await engine.watch({"id": "c"}).next(WAIT_S)  # committed, and now it waits for a slot
    done, _late = await asyncio.wait([third], timeout=WAIT_S)
    assert done == {third}
    assert isinstance(third.exception(), StepflowError | None)  # it was refused, or began and ended at once


@on_loop
async def test_an_engine_beats_during_an_execution_that_took_its_lease_at_once():
    started, go_on = asyncio.Event(), asyncio.Event()

    @flow("slow")
    async def slow(ctx):
        started.set()
        await go_on.wait()
        return commit(park(ctx))

    async with AsyncEngine("memory://") as engine:
        engine.register(slow)
        await begin(engine, "a", "slow")
        await asyncio.wait_for(started.wait(), WAIT_S)
        beats = engine._session.leases._beating
        assert beats is not None
        assert not beats.done()
        go_on.set()
