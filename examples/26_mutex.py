"""A mutex: one commit locks a State by stacking it into the State that holds it."""

import asyncio

from stepflow import AsyncEngine, AsyncFlowEngine, Execute, Noop, Stack, StateCtx, Unstack, commit, flow, park, transit
from stepflow.errors import RevMismatch
from stepflow.model.commands import Command


@flow("lock")
async def lock(ctx: StateCtx, engine: AsyncFlowEngine) -> Command:
    async for state in engine.watch({"mutex": "printer"}, since="latest"):
        mutex, mine = StateCtx.of(state), ctx.copy()
        if mutex.annotation("state") == "unlocked":
            try:
                await engine.do(commit(park(mutex, state="locked"), Stack(mine, mutex, "held"), transit(mine, "print")))
            except RevMismatch:
                continue  # another State has locked it: wait for the next revision
            return Execute(mine)
    return Noop()  # never reached: a watch has no end


@flow("print")
def print_pages(ctx: StateCtx) -> Command:
    log.append("begin")
    log.append("end")
    return transit(ctx, "unlock")


@flow("unlock")
def unlock(ctx: StateCtx) -> Command:
    mutex = StateCtx("")
    return commit(Unstack(ctx, mutex, "held"), park(mutex, state="unlocked"), park(ctx, state="printed"))


log: list[str] = []


async def main() -> None:
    async with AsyncEngine("memory://") as engine:
        engine.register(lock, print_pages, unlock)
        await engine.do(commit(park(StateCtx("printer", {"mutex": "printer"}), state="unlocked")))
        jobs = [StateCtx(f"job-{i}") for i in range(3)]
        await engine.do(commit(*(transit(job, "lock") for job in jobs)), *map(Execute, jobs))
        printed = 0
        async for state in engine.watch():
            printed += state.transition.annotations.get("state") == "printed"
            if printed == len(jobs):
                break
    print(log)


asyncio.run(main())
