"""Execute with timeout: a delay in the same commit; the first one to move the State wins, the other one is void."""

from stepflow import Command, Engine, Noop, StateCtx, commit, delay, flow, park, transit
from stepflow.testing import VirtualClock


@flow("confirm")
def confirm(ctx: StateCtx) -> Command:
    if ctx.delayed_until:
        print(ctx.id, "timed out")
        return commit(park(ctx, outcome="timeout"))
    if ctx.annotation("fast") == "yes":
        print(ctx.id, "done in time")
        return commit(park(ctx, outcome="done"))
    print(ctx.id, "waits for an answer")
    return Noop()


clock = VirtualClock()
with Engine("memory://", clock=clock) as engine:
    engine.register(confirm)
    for name, fast in (("hare", "yes"), ("tortoise", "no")):
        ctx = StateCtx(name, annotations={"fast": fast})
        engine.do(commit(transit(ctx, "confirm"), delay(ctx, "confirm", 10)))
        engine.execute(ctx)
    engine.run_until_idle(advance=True)
    for name in ("hare", "tortoise"):
        print(name, engine.get_state(name).annotation("outcome"))
