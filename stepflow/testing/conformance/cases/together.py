"""Cases 11 to 16: States that watch each other: joins, actor, queue, mutex, rate limiter."""

from __future__ import annotations

from collections import deque

from stepflow.drivers.port.store import Driver
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.blocking.states import BlockingVerbs
from stepflow.engine.states.api import AsyncVerbs
from stepflow.engine.states.function_runner import Done, Parked
from stepflow.errors import RevMismatch, Stopping
from stepflow.model.commands import Command, Execute, Noop, Stack, Unstack, commit, park, transit
from stepflow.model.ctx import StateCtx
from stepflow.model.function import FlowFunction, flow
from stepflow.model.state import State
from stepflow.testing.conformance.cases.kit import WITHIN_S, Tracker, going, on_loop, open_engine, parking

JOIN = {"theForkJoinLabel": "aTID"}
INBOX = {"actor.foo": "inbox"}
QUEUE = {"queue": "theName"}
MUTEX = {"mutex": "theName"}
LIMITER = {"limiter": "theName"}
BEAT_S = 0.1
LOOK_S = 0.02


def _joining(track: Tracker, wins: int) -> list[FlowFunction]:
    """Three States meet in `join`; the one that is the `wins`-th in the order of revisions goes on."""

    @flow("fork")
    def fork(ctx: StateCtx, engine: BlockingVerbs) -> Command:
        track(ctx)
        ctx.labels.update(JOIN)
        forks = [ctx.copy(), ctx.fork("forkedTID"), ctx.fork("forkedTwoTID")]
        engine.do(commit(*(transit(forked, "forked") for forked in forks)), *map(Execute, forks))
        return Noop()

    @flow("join")
    async def join(ctx: StateCtx, engine: AsyncVerbs) -> Command:
        track(ctx)
        if ctx.committed.transition.to != "join":
            await engine.do(commit(transit(ctx, "join")))
        count, watch = 0, engine.watch(JOIN)
        while True:
            state = await anext(watch)
            count += state.transition.to == "join"
            if state.id == ctx.id and state.transition.to == "join":
                return commit(transit(ctx, "joined") if count == wins else park(ctx))

    return [fork, going("forked", "join", track), join, parking("joined", track)]


async def _join(driver: Driver, wins: int) -> None:
    track = Tracker()
    async with open_engine(driver, *_joining(track, wins)) as engine:
        ctx = StateCtx("aTID")
        await engine.do(transit(ctx, "fork"))
        assert await engine.execute(ctx) == Done()
        await track.until(8)
    assert sorted(track.visited) == ["fork"] + ["forked"] * 3 + ["join"] * 3 + ["joined"]


def _acting(track: Tracker) -> FlowFunction:
    @flow("actor")
    async def actor(ctx: StateCtx, engine: AsyncVerbs) -> Command:
        track(ctx, state=True)
        inbox = engine.watch(INBOX)
        try:
            while True:
                message = await inbox.next(BEAT_S)
                if message is None:
                    await engine.do(commit(transit(ctx, "actor")))
                else:
                    track.note(f"{message.transition.to}:{message.id}")
        except Stopping:  # the engine is being closed
            return commit(park(ctx))

    return actor


def _queueing(track: Tracker) -> list[FlowFunction]:
    @flow("enqueue")
    def enqueue(ctx: StateCtx) -> Command:
        track(ctx, state=True)
        ctx.labels.update(QUEUE)
        return commit(park(ctx))

    @flow("queue")
    async def queue(ctx: StateCtx, engine: AsyncVerbs) -> Command:
        track(ctx, state=True)
        item = StateCtx.of(await anext(engine.watch(QUEUE)))
        del item.labels["queue"]
        await engine.do(commit(transit(item, "dequeued"), park(ctx)), Execute(item))
        return Noop()

    return [enqueue, queue, parking("dequeued", lambda ctx: track(ctx, state=True), commits=True)]


def _locking(track: Tracker) -> list[FlowFunction]:
    @flow("lock")
    async def lock(ctx: StateCtx, engine: AsyncVerbs) -> Command:
        track(ctx)
        watch = engine.watch(MUTEX, since="latest")
        while True:
            mutex, mine = StateCtx.of(await anext(watch)), ctx.copy()
            if mutex.annotation("state") != "unlocked":
                continue
            moves = park(mutex, state="locked"), Stack(mine, mutex, "mutex_state"), transit(mine, "protected")
            try:
                await engine.do(commit(*moves))
            except RevMismatch as error:
                if error.ids != ["aMutexTID"]:
                    raise
                continue
            return Execute(mine)

    @flow("unlock")
    def unlock(ctx: StateCtx) -> Command:
        track(ctx)
        mutex = StateCtx("")
        return commit(Unstack(ctx, mutex, "mutex_state"), park(mutex, state="unlocked"), park(ctx))

    return [lock, going("protected", "unlock", track), unlock]


def _limiting(track: Tracker, bucket: list[str]) -> list[FlowFunction]:
    @flow("limiter")
    async def limiter(_ctx: StateCtx, engine: AsyncVerbs) -> Command:
        watch, backlog = engine.watch(LIMITER), deque[State]()
        while True:
            state = await watch.next(LOOK_S)
            if state is not None and state.parked:
                backlog.append(state)
            while backlog and bucket:
                bucket.pop()
                limited = StateCtx.of(backlog.popleft())
                del limited.labels["limiter"]
                await engine.do(commit(transit(limited, "limited", state="resumed")), Execute(limited))

    @flow("limited")
    def limited(ctx: StateCtx) -> Command:
        track(ctx, resumed=True)
        if ctx.annotation("state") != "resumed":
            ctx.labels.update(LIMITER)
        return commit(park(ctx))

    return [limiter, limited]


async def _begin(engine: AsyncEngine, to: str, *ids: str) -> None:
    """Commit a State for each id that goes to this flow, and execute it in the background."""
    for run_id in ids:
        ctx = StateCtx(run_id)
        await engine.do(commit(transit(ctx, to)), Execute(ctx))


class TogetherCases:
    """Patterns made of watches and commits."""

    @on_loop
    async def test_case_11_fork_join_first_wins(self, driver: Driver) -> None:
        await _join(driver, 1)

    @on_loop
    async def test_case_12_fork_join_last_wins(self, driver: Driver) -> None:
        await _join(driver, 3)

    @on_loop
    async def test_case_13_actor(self, driver: Driver) -> None:
        track = Tracker()
        async with open_engine(driver, _acting(track)) as engine:
            await _begin(engine, "actor", "actorTID")
            for i in range(2):
                await engine.do(commit(park(StateCtx(f"msg{i}TID", labels=dict(INBOX)))))
            assert await track.until(3) == ["actor:actorTID", ":msg0TID", ":msg1TID"]
            beats = engine.watch(since="latest")
            last, *again = [await beats.next(WITHIN_S) for _ in range(3)]
            assert last is not None
            assert [beat and (beat.id, beat.transition.to) for beat in again] == [("actorTID", "actor")] * 2
        assert track.visited == ["actor:actorTID", ":msg0TID", ":msg1TID"]
        async with open_engine(driver) as engine:
            assert (await engine.get_state("actorTID")).parked  # what the actor returned when it was told to stop

    @on_loop
    async def test_case_14_queue(self, driver: Driver) -> None:
        track = Tracker()
        async with open_engine(driver, *_queueing(track)) as engine:
            for i in range(3):
                ctx = StateCtx(f"aTID{i}")
                await engine.do(transit(ctx, "enqueue"))
                assert await engine.execute(ctx) == Parked()
            await _begin(engine, "queue", "workerTID")
            await track.until(5)
        assert track.visited == [
            "enqueue:aTID0", "enqueue:aTID1", "enqueue:aTID2", "queue:workerTID", "dequeued:aTID0",
        ]  # fmt: skip

    @on_loop
    async def test_case_15_mutex(self, driver: Driver) -> None:
        track = Tracker()
        async with open_engine(driver, *_locking(track)) as engine:
            await engine.do(commit(park(StateCtx("aMutexTID", labels=dict(MUTEX)), state="unlocked")))
            await _begin(engine, "lock", "aTID0", "aTID1", "aTID2")
            await track.until(9)
        assert sorted(track.visited) == ["lock"] * 3 + ["protected"] * 3 + ["unlock"] * 3
        # One that comes late may ask for the lock while another one is protected.
        assert [visit for visit in track.visited if visit != "lock"] == ["protected", "unlock"] * 3
        async with open_engine(driver) as engine:
            last = (await engine.states(latest_only=True)).states
            assert {state.id: state.transition.to for state in last} == dict.fromkeys(
                ["aMutexTID", "aTID0", "aTID1", "aTID2"], ""
            )
            (mutex,) = (await engine.states(MUTEX, since_rev=-1)).states
            assert mutex.transition.annotations == {"state": "unlocked"}

    @on_loop
    async def test_case_16_rate_limit(self, driver: Driver) -> None:
        # The origin's bucket gets a token every 100 ms; this one is filled by hand, which no machine is too slow for.
        track, bucket = Tracker(), list[str]()
        async with open_engine(driver, *_limiting(track, bucket)) as engine:
            await _begin(engine, "limiter", "limiterTID")
            await _begin(engine, "limited", *(f"aTID{i}" for i in range(10)))
            await track.until(10)
            assert track.visited == ["limited"] * 10
            for tokens in range(1, 6):
                bucket.append("token")
                await track.until(10 + tokens)
        assert sorted(track.visited) == ["limited"] * 10 + ["limited:resumed"] * 5
