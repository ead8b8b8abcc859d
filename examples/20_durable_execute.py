"""Durable execute: after the commit of a State, its function is executed even if this process dies first."""

from stepflow import Command, Engine, StateCtx, commit, flow, park, transit


@flow("greet")
def greet(ctx: StateCtx) -> Command:
    print("hello", ctx.annotation("name"))
    return commit(park(ctx, greeted="yes"))


with Engine("sqlite:///greetings.db") as engine:
    engine.register(greet)
    ada = StateCtx("ada", annotations={"name": "Ada"})
    engine.do(commit(transit(ada, "greet")))
    print(engine.execute(ada))

with Engine("sqlite:///greetings.db") as engine:  # a client that exits before it executes the State
    bob = StateCtx("bob", annotations={"name": "Bob"})
    engine.do(commit(transit(bob, "greet")))

with Engine("sqlite:///greetings.db") as engine:
    engine.register(greet)
    engine.run_until_idle()
    for state in engine.states(latest_only=True).states:
        print(state.id, state.transition.annotations)
