"""Fork and join: one commit creates three States; all read the same log, so they agree which one finished last."""

import asyncio

from stepflow import AsyncEngine, AsyncFlowEngine, Command, Execute, Noop, StateCtx, commit, flow, park, transit


@flow("fork")
async def fork(ctx: StateCtx, engine: AsyncFlowEngine) -> Command:
    ctx.labels["job"] = ctx.id
    parts = [ctx.fork(f"{ctx.id}/{name}") for name in ("flour", "milk", "eggs")]
    await engine.do(commit(park(ctx), *(transit(part, "fetch") for part in parts)), *map(Execute, parts))
    return Noop()


@flow("fetch")
async def fetch(ctx: StateCtx) -> Command:
    print("fetch", ctx.id)
    return commit(transit(ctx, "join"))


@flow("join")
async def join(ctx: StateCtx, engine: AsyncFlowEngine) -> Command:
    arrived = 0
    async for state in engine.watch({"job": ctx.labels["job"]}):
        arrived += state.transition.to == "join"
        if state.id == ctx.id and state.transition.to == "join":
            return commit(transit(ctx, "bake") if arrived == 3 else park(ctx))
    return Noop()  # never reached: a watch has no end


@flow("bake")
def bake(ctx: StateCtx) -> Command:
    print("bake", ctx.labels["job"])
    return commit(park(ctx, state="baked"))


async def main() -> None:
    async with AsyncEngine("memory://") as engine:
        engine.register(fork, fetch, join, bake)
        cake = StateCtx("cake")
        await engine.do(commit(transit(cake, "fork")), Execute(cake))
        async for state in engine.watch({"job": "cake"}):
            if state.transition.annotations.get("state") == "baked":
                break


asyncio.run(main())
