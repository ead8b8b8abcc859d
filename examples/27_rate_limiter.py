"""A rate limiter: watches the waiting States and moves one of them per tenth of a second."""

import asyncio

from stepflow import AsyncEngine, AsyncFlowEngine, Command, Execute, Noop, StateCtx, commit, flow, park, transit

WAITING = {"limiter": "api"}


@flow("limiter")
async def limiter(ctx: StateCtx, engine: AsyncFlowEngine) -> Command:
    async for state in engine.watch(WAITING):
        if state.parked:
            call = StateCtx.of(state)
            del call.labels["limiter"]
            await engine.do(commit(transit(call, "call", state="resumed")), Execute(call))
            await asyncio.sleep(0.1)
    return Noop()  # never reached: a watch has no end


@flow("call")
def call_api(ctx: StateCtx) -> Command:
    if ctx.annotation("state") != "resumed":
        ctx.labels.update(WAITING)
        return commit(park(ctx))
    print("call", ctx.id)
    return commit(park(ctx, state="called"))


async def main() -> None:
    async with AsyncEngine("memory://") as engine:
        engine.register(limiter, call_api)
        api, started = StateCtx("api"), asyncio.get_running_loop().time()
        await engine.do(commit(transit(api, "limiter")), Execute(api))
        for i in range(4):
            ctx = StateCtx(f"request-{i}")
            await engine.do(commit(transit(ctx, "call")))
            await engine.execute(ctx)
        called = 0
        async for state in engine.watch():
            called += state.transition.annotations.get("state") == "called"
            if called == 4:
                break
        print("it took 0.3 s or more:", asyncio.get_running_loop().time() - started >= 0.3)


asyncio.run(main())
