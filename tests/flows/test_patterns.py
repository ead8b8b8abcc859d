"""Flow functions that watch States: actor, queue, mutex, rate limiter."""

from __future__ import annotations

import asyncio
import itertools

from stepflow import (
    AsyncEngine,
    Conflict,
    Execute,
    Noop,
    Parked,
    RevMismatch,
    Stack,
    StateCtx,
    Unstack,
    commit,
    flow,
    park,
    transit,
)
from tests.flows.tracker import on_loop


@on_loop
async def test_an_actor_takes_messages_and_ends_with_its_engine(store, track):
    @flow("actor")
    async def actor(ctx, engine):
        track(ctx, state=True)
        inbox = engine.watch({"actor.foo": "inbox"})
        while True:
            message = await inbox.next(timeout=0.1)
            if message is None:
                await engine.do(commit(transit(ctx, "actor")))
            else:
                track.note(f"{message.transition.to}:{message.id}")

    engine = AsyncEngine(store)
    async with engine:
        engine.register(actor)
        ctx = StateCtx("actorTID", labels={"kind": "actor"})
        await engine.do(commit(transit(ctx, "actor")), Execute(ctx))
        for i in range(2):
            await engine.do(commit(park(StateCtx(f"msg{i}TID", labels={"actor.foo": "inbox"}))))
        assert await track.until(3) == ["actor:actorTID", ":msg0TID", ":msg1TID"]
        beats = engine.watch({"kind": "actor"}, since=(await engine.get_state("actorTID")).rev)
        assert [(await beats.next(10)).id for _ in range(2)] == ["actorTID"] * 2
        closing = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - closing < 5


@on_loop
async def test_a_queue_is_first_in_first_out(store, track):
    @flow("enqueue")
    def enqueue(ctx):
        track(ctx, state=True)
        ctx.labels["queue"] = "theName"
        return commit(park(ctx))

    @flow("queue")
    async def queue(ctx, engine):
        track(ctx, state=True)
        async for state in engine.watch({"queue": "theName"}):
            item = StateCtx.of(state)
            del item.labels["queue"]
            await engine.do(commit(transit(item, "dequeued"), park(ctx)), Execute(item))
            return Noop()

    @flow("dequeued")
    def dequeued(ctx):
        track(ctx, state=True)
        return commit(park(ctx))

    async with AsyncEngine(store) as engine:
        engine.register(enqueue, queue, dequeued)
        for i in range(3):
            ctx = StateCtx(f"aTID{i}")
            await engine.do(transit(ctx, "enqueue"))
            assert await engine.execute(ctx) == Parked()
        worker = StateCtx("workerTID")
        await engine.do(commit(transit(worker, "queue")), Execute(worker))
        expected = ["enqueue:aTID0", "enqueue:aTID1", "enqueue:aTID2", "queue:workerTID", "dequeued:aTID0"]
        assert await track.until(5) == expected


def mutex_flows(track):
    @flow("lock")
    async def lock(ctx, engine):
        track(ctx)
        async for state in engine.watch({"mutex": "theName"}, since="latest"):
            mutex, mine = StateCtx.of(state), ctx.copy()
            if mutex.annotation("state") != "unlocked":
                continue
            moves = park(mutex, state="locked"), Stack(mine, mutex, "mutex_state"), transit(mine, "protected")
            try:
                await engine.do(commit(*moves))
            except RevMismatch:
                continue
            return Execute(mine)

    @flow("protected")
    def protected(ctx):
        track(ctx)
        return transit(ctx, "unlock")

    @flow("unlock")
    def unlock(ctx):
        track(ctx)
        mutex = StateCtx("")
        return commit(Unstack(ctx, mutex, "mutex_state"), park(mutex, state="unlocked"), park(ctx))

    return lock, protected, unlock


@on_loop
async def test_a_mutex_lets_in_one_at_a_time(store, track):
    async with AsyncEngine(store) as engine:
        engine.register(*mutex_flows(track))
        await engine.do(commit(park(StateCtx("aMutexTID", labels={"mutex": "theName"}), state="unlocked")))
        states = [StateCtx(f"aTID{i}") for i in range(3)]
        await engine.do(*(commit(transit(ctx, "lock")) for ctx in states), *map(Execute, states))
        visited = await track.until(9)
        assert sorted(visited) == ["lock"] * 3 + ["protected"] * 3 + ["unlock"] * 3
        assert all(b == "unlock" for a, b in itertools.pairwise(visited) if a == "protected")
        parked = engine.watch(since="latest")
        await parked.next(10)
    async with AsyncEngine(store) as engine:
        last = await engine.states(latest_only=True)
        assert {state.id: state.transition.to for state in last.states} == {
            "aMutexTID": "", "aTID0": "", "aTID1": "", "aTID2": "",
        }  # fmt: skip


@on_loop
async def test_a_rate_limiter_resumes_as_many_as_its_bucket_allows(store, track):
    tokens = asyncio.Semaphore(5)

    @flow("limiter")
    async def limiter(ctx, engine):
        async for state in engine.watch({"limiter": "theName"}):
            if state.parked:
                await tokens.acquire()
                limited = StateCtx.of(state)
                del limited.labels["limiter"]
                await engine.do(commit(transit(limited, "limited", state="resumed")), Execute(limited))
        return Noop()

    @flow("limited")
    def limited(ctx):
        track(ctx, resumed=True)
        if ctx.annotation("state") != "resumed":
            ctx.labels["limiter"] = "theName"
        return commit(park(ctx))

    async with AsyncEngine(store) as engine:
        engine.register(limiter, limited)
        ctx = StateCtx("limiterTID")
        await engine.do(commit(transit(ctx, "limiter")), Execute(ctx))
        for i in range(10):
            state = StateCtx(f"aTID{i}")
            await engine.do(commit(transit(state, "limited")), Execute(state))
        await track.until(15)
        assert sorted(track.visited) == ["limited"] * 10 + ["limited:resumed"] * 5
        tokens.release()
        await track.until(16)
        for _ in range(4):
            tokens.release()
        await track.until(20)


@on_loop
async def test_a_commit_that_meets_a_conflict_ends_the_execution_with_the_ids(store):
    @flow("slow")
    async def slow(ctx, engine):
        await engine.do(commit(park(await engine.get_state("other"))))
        return commit(park(ctx), park(others[0]))

    others = []
    async with AsyncEngine(store) as engine:
        engine.register(slow)
        await engine.do(commit(park(StateCtx("other"))))
        others.append(await engine.get_state("other"))
        ctx = StateCtx("mine")
        await engine.do(commit(transit(ctx, "slow")))
        assert await engine.execute(ctx) == Conflict(("other",))
