"""Cases 1 to 10 of the origin's driver suite, over a foreign client."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from tests.foreign.client import (
    Commit,
    Execute,
    Noop,
    Park,
    Stack,
    States,
    Transit,
    Unstack,
)
from tests.foreign.engine import Engine, copy_of, ctx_of, note
from tests.foreign.table import CASES as CASES
from tests.foreign.table import case


def moving(engine: Engine, *names: str, commits: bool = False) -> None:
    """Flow functions that go from one to the next; the last one parks in memory."""
    for name, to in pairwise(names):

        @engine.flow(name)
        async def go(ctx: Any, name: str = name, to: str = to) -> Any:
            await engine.visit(name)
            return Commit((Transit(ctx, to),)) if commits else Transit(ctx, to)

    @engine.flow(names[-1])
    async def end(ctx: Any) -> Any:
        await engine.visit(names[-1])
        return Park(ctx)


async def log_of(engine: Engine) -> list[str]:
    """Ids and targets of all revisions that are not those of the delayer."""
    command = States()
    await engine.driver.send(command)
    return [f"{s.id}:{s.transition.to}" for s in command.found if not s.id.startswith("flowstate.")]


@case(1)
async def single_node(engine: Engine) -> None:
    moving(engine, "first")
    ctx = ctx_of("aTID")
    await engine.do(Transit(ctx, "first"))
    await engine.execute(ctx)
    assert engine.visited == ["first"]
    assert await log_of(engine) == []


@case(2)
async def two_consequent_nodes(engine: Engine) -> None:
    moving(engine, "first", "second")
    ctx = ctx_of("aTID")
    await engine.do(Transit(ctx, "first"))
    await engine.execute(ctx)
    assert engine.visited == ["first", "second"]


@case(3)
async def three_consequent_nodes(engine: Engine) -> None:
    moving(engine, "first", "second", "third")
    ctx = ctx_of("aTID")
    await engine.do(Transit(ctx, "first"))
    await engine.execute(ctx)
    assert engine.visited == ["first", "second", "third"]


@case(4)
async def two_consequent_nodes_with_commit(engine: Engine) -> None:
    moving(engine, "first", "second", commits=True)
    ctx = ctx_of("aTID")
    await engine.do(Commit((Transit(ctx, "first"),)))
    assert list(ctx.transitions) == []
    await engine.execute(ctx)
    assert engine.visited == ["first", "second"]
    assert await log_of(engine) == ["aTID:first", "aTID:second"]


@case(5)
async def condition(engine: Engine) -> None:
    moving(engine, "second")
    moving(engine, "third")

    @engine.flow("first")
    async def first(ctx: Any) -> Any:
        await engine.visit("first")
        return Transit(ctx, "second" if note(ctx, "condition") == "true" else "third")

    for id_, value in (("aTrueTID", "true"), ("aFalseTID", "false")):
        ctx = ctx_of(id_, annotations={"condition": value})
        await engine.do(Transit(ctx, "first"))
        await engine.execute(ctx)
    assert engine.visited == ["first", "second", "first", "third"]


async def fork_to(engine: Engine, *, commits: bool) -> None:
    moving(engine, "origin")
    moving(engine, "forked")

    @engine.flow("fork")
    async def fork(ctx: Any) -> Any:
        await engine.visit("fork")
        other = copy_of(ctx)
        other.current.id, other.current.rev = "forkedTID", 0
        other.committed.CopyFrom(other.current)
        moves = Transit(ctx, "origin"), Transit(other, "forked")
        await engine.do(*((Commit(moves),) if commits else moves), Execute(ctx), Execute(other))
        return Noop()

    ctx = ctx_of("aTID")
    await engine.do(Transit(ctx, "fork"))
    await engine.execute(ctx)
    await engine.until(3)
    assert sorted(engine.visited) == ["fork", "forked", "origin"]
    assert await log_of(engine) == (["aTID:origin", "forkedTID:forked"] if commits else [])


@case(6)
async def fork(engine: Engine) -> None:
    await fork_to(engine, commits=False)


@case(7)
async def fork_with_commit(engine: Engine) -> None:
    await fork_to(engine, commits=True)


async def call_another(engine: Engine, *, commits: bool) -> None:
    moving(engine, "called", "calledEnd")
    moving(engine, "callEnd")

    def together(*commands: Any) -> tuple[Any, ...]:
        return (Commit(commands),) if commits else commands

    @engine.flow("call")
    async def call(ctx: Any) -> Any:
        await engine.visit("call")
        if note(ctx, "state") == "resumed":
            return Transit(ctx, "callEnd")
        called = ctx_of("aNextTID" if commits else "aTID")
        steps = Park(ctx), Stack(called, ctx, "caller_state"), Transit(called, "called")
        await engine.do(*together(*steps), Execute(called))
        return Noop()

    @engine.flow("calledEnd")
    async def called_end(ctx: Any) -> Any:
        await engine.visit("calledEnd")
        caller = ctx_of("")
        steps = Unstack(ctx, caller, "caller_state"), Transit(caller, "call", {"state": "resumed"})
        rest = (Park(ctx),) if commits else ()
        await engine.do(*together(*steps, *rest), Execute(caller), *(() if commits else (Park(ctx),)))
        return Noop()

    ctx = ctx_of("aTID")
    await engine.do(Transit(ctx, "call"))
    await engine.execute(ctx)
    await engine.until(5)
    assert engine.visited == ["call", "called", "calledEnd", "call", "callEnd"]
    if commits:
        assert await log_of(engine) == ["aTID:", "aNextTID:called", "aTID:call", "aNextTID:"]


@case(8)
async def call_flow(engine: Engine) -> None:
    await call_another(engine, commits=False)


@case(9)
async def call_flow_with_commit(engine: Engine) -> None:
    await call_another(engine, commits=True)


@case(10)
async def call_flow_with_watch(engine: Engine) -> None:
    moving(engine, "called", "calledEnd")
    moving(engine, "callEnd")

    @engine.flow("calledEnd")
    async def called_end(ctx: Any) -> Any:
        await engine.visit("calledEnd")
        return Commit((Park(ctx),))

    @engine.flow("call")
    async def call(ctx: Any) -> Any:
        await engine.visit("call")
        called = ctx_of("aNextTID", labels={"theWatchLabel": "aTID"})
        ctx.current.annotations["called"] = "true"
        await engine.do(Commit((Transit(ctx, "call"), Transit(called, "called"))), Execute(called))
        async for state in engine.watch({"theWatchLabel": "aTID"}, since=ctx.committed.rev):
            if not state.transition.to:
                break
        del ctx.current.annotations["called"]
        return Commit((Transit(ctx, "callEnd"),))

    ctx = ctx_of("aTID")
    await engine.do(Transit(ctx, "call"))
    await engine.execute(ctx)
    assert engine.visited == ["call", "called", "calledEnd", "callEnd"]
    last = States(latest_only=True)
    await engine.do(last)
    assert [dict(state.annotations) for state in last.found if state.id == "aTID"] == [{}]
