"""Cases 11 to 18 of the origin's driver suite, over a foreign client: patterns of several States, and timers."""

from __future__ import annotations

from typing import Any

from tests.foreign.client import (
    Commit,
    Delay,
    Execute,
    Noop,
    Park,
    RevisionMismatch,
    Stack,
    Transit,
    Unstack,
)
from tests.foreign.engine import Engine, copy_of, ctx_of, forked, note
from tests.foreign.execution_cases import log_of, moving
from tests.foreign.table import CASES as CASES
from tests.foreign.table import case


async def fork_and_join(engine: Engine, *, winner: int) -> None:
    moving(engine, "forked", "join", commits=False)
    moving(engine, "joined")
    label = {"theForkJoinLabel": "aTID"}

    @engine.flow("fork")
    async def fork(ctx: Any) -> Any:
        await engine.visit("fork")
        ctx.current.labels.update(label)
        parts = copy_of(ctx), forked(ctx, "forkedTID"), forked(ctx, "forkedTwoTID")
        await engine.do(Commit(tuple(Transit(part, "forked") for part in parts)), *map(Execute, parts))
        return Noop()

    @engine.flow("join")
    async def join(ctx: Any) -> Any:
        await engine.visit("join")
        if ctx.committed.transition.to != "join":
            await engine.do(Commit((Transit(ctx, "join"),)))
        count = 0
        async for state in engine.watch(label):
            count += state.transition.to == "join"
            if state.transition.to == "join" and state.id == ctx.current.id:
                return Commit((Transit(ctx, "joined"),)) if count == winner else Commit((Park(ctx),))

    ctx = ctx_of("aTID")
    await engine.do(Transit(ctx, "fork"))
    await engine.execute(ctx)
    await engine.until(8)
    assert sorted(engine.visited) == ["fork", *["forked"] * 3, *["join"] * 3, "joined"]


@case(11)
async def fork_join_first_wins(engine: Engine) -> None:
    await fork_and_join(engine, winner=1)


@case(12)
async def fork_join_last_wins(engine: Engine) -> None:
    await fork_and_join(engine, winner=3)


@case(13)
async def actor(engine: Engine) -> None:
    """An actor gets what is committed with its label, and commits itself again in between."""

    @engine.flow("actor")
    async def work(ctx: Any) -> Any:
        await engine.visit("actor:actorTID")
        async for state in engine.watch({"actor.foo": "inbox"}):
            await engine.visit(f"{state.transition.to}:{state.id}")
            await engine.do(Commit((Transit(ctx, "actor"),)))

    ctx = ctx_of("actorTID")
    await engine.do(Commit((Transit(ctx, "actor"),)), Execute(ctx))
    for number in range(2):
        await engine.do(Commit((Park(ctx_of(f"msg{number}TID", labels={"actor.foo": "inbox"})),)))
    await engine.until(3)
    assert engine.visited == ["actor:actorTID", ":msg0TID", ":msg1TID"]


@case(14)
async def queue(engine: Engine) -> None:
    @engine.flow("enqueue")
    async def enqueue(ctx: Any) -> Any:
        await engine.visit(f"enqueue:{ctx.current.id}")
        ctx.current.labels["queue"] = "theName"
        return Commit((Park(ctx),))

    @engine.flow("dequeued")
    async def dequeued(ctx: Any) -> Any:
        await engine.visit(f"dequeued:{ctx.current.id}")
        return Commit((Park(ctx),))

    @engine.flow("queue")
    async def worker(ctx: Any) -> Any:
        await engine.visit(f"queue:{ctx.current.id}")
        async for state in engine.watch({"queue": "theName"}):
            item = ctx_of(state.id)
            item.current.CopyFrom(state)
            item.committed.CopyFrom(state)
            del item.current.labels["queue"]
            await engine.do(Commit((Transit(item, "dequeued"), Park(ctx))), Execute(item))
            return Noop()

    for number in range(3):
        ctx = ctx_of(f"aTID{number}")
        await engine.do(Transit(ctx, "enqueue"))
        await engine.execute(ctx)
    ctx = ctx_of("workerTID")
    await engine.do(Transit(ctx, "queue"))
    await engine.execute(ctx)
    await engine.until(5)
    assert engine.visited == [*(f"enqueue:aTID{n}" for n in range(3)), "queue:workerTID", "dequeued:aTID0"]


@case(15)
async def mutex(engine: Engine) -> None:
    moving(engine, "protected", "unlock")

    @engine.flow("lock")
    async def lock(ctx: Any) -> Any:
        await engine.visit("lock")
        async for state in engine.watch({"mutex": "theName"}, since=-1):
            if state.transition.annotations.get("state") != "unlocked":
                continue
            held, mine = ctx_of(state.id), copy_of(ctx)
            held.current.CopyFrom(state)
            held.committed.CopyFrom(state)
            steps = Park(held, {"state": "locked"}), Stack(mine, held, "mutex_state"), Transit(mine, "protected")
            try:
                await engine.do(Commit(steps))
            except RevisionMismatch as error:
                if error.args != (["aMutexTID"],):
                    raise AssertionError("another State") from error
                continue
            return Execute(mine)

    @engine.flow("unlock")
    async def unlock(ctx: Any) -> Any:
        await engine.visit("unlock")
        held = ctx_of("")
        await engine.do(Commit((Unstack(ctx, held, "mutex_state"), Park(held, {"state": "unlocked"}), Park(ctx))))
        return Noop()

    await engine.do(Commit((Park(ctx_of("aMutexTID", labels={"mutex": "theName"}), {"state": "unlocked"}),)))
    for number in range(3):
        ctx = ctx_of(f"aTID{number}")
        await engine.do(Commit((Transit(ctx, "lock"),)), Execute(ctx))
    await engine.until(9)
    assert sorted(engine.visited) == ["lock"] * 3 + ["protected"] * 3 + ["unlock"] * 3
    held = [text for text in engine.visited if text != "lock"]
    assert held == ["protected", "unlock"] * 3


@case(16)
async def rate_limit(engine: Engine) -> None:
    """Half of the States are let on, each once. How fast is up to the client."""
    label = {"limiter": "theName"}

    @engine.flow("limiter")
    async def limiter(ctx: Any) -> Any:
        left = 5
        async for state in engine.watch(label):
            if state.transition.to or not left:
                continue
            item = ctx_of(state.id)
            item.current.CopyFrom(state)
            item.committed.CopyFrom(state)
            del item.current.labels["limiter"]
            await engine.do(Commit((Transit(item, "limited", {"state": "resumed"}),)), Execute(item))
            left -= 1

    @engine.flow("limited")
    async def limited(ctx: Any) -> Any:
        resumed = note(ctx, "state") == "resumed"
        await engine.visit("limited:resumed" if resumed else "limited")
        if not resumed:
            ctx.current.labels.update(label)
        return Commit((Park(ctx),))

    ctx = ctx_of("limiterTID")
    await engine.do(Commit((Transit(ctx, "limiter"),)), Execute(ctx))
    for number in range(10):
        ctx = ctx_of(f"aTID{number}")
        await engine.do(Commit((Transit(ctx, "limited"),)), Execute(ctx))
    await engine.until(15)
    assert sorted(engine.visited) == ["limited"] * 10 + ["limited:resumed"] * 5


@case(17)
async def delay(engine: Engine) -> None:
    moving(engine, "second")

    @engine.flow("first")
    async def first(ctx: Any) -> Any:
        await engine.visit("first")
        if note(ctx, "flowstate.delay.until"):
            return Transit(ctx, "second")
        return Delay(ctx, "first", engine.now + 1)

    ctx = ctx_of("aTID")
    await engine.do(Transit(ctx, "first"))
    await engine.execute(ctx)
    assert await log_of(engine) == []  # a delay commits nothing
    await engine.pass_time(0)
    assert engine.visited == ["first"]
    await engine.pass_time(1)
    await engine.until(3)
    assert engine.visited == ["first", "first", "second"]
    assert await log_of(engine) == ["aTID:first"]


@case(18)
async def cron(engine: Engine) -> None:
    @engine.flow("cron")
    async def tick(ctx: Any) -> Any:
        await engine.visit("cron")
        task = ctx_of(f"task_{engine.now}")
        again = Delay(ctx, ctx.current.annotations["self"], engine.now + 1)
        flow = ctx.current.annotations["cron_task_flow_id"]
        await engine.do(Commit((Park(ctx), again, Transit(task, flow))), Execute(task))
        return Noop()

    @engine.flow("task")
    async def task(ctx: Any) -> Any:
        await engine.visit("task")
        return Commit((Park(ctx),))

    ctx = ctx_of("aTID", annotations={"self": "cron", "cron_task_flow_id": "task"})
    await engine.do(Transit(ctx, "cron"))
    await engine.execute(ctx)
    for done in (2, 4):
        await engine.until(done)
        await engine.pass_time(1)
    await engine.until(6)
    assert engine.visited == ["cron", "task"] * 3
