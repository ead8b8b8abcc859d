"""Delayed execute: a delay is durable; its State need not be committed before."""

from stepflow import Command, Engine, StateCtx, delay, flow, park
from stepflow.testing import VirtualClock

clock = VirtualClock()


@flow("remind")
def remind(ctx: StateCtx) -> Command:
    print(f"{clock.datetime():%H:%M} {ctx.annotation('text')}, due {ctx.delayed_until:%H:%M}")
    return park(ctx)


with Engine("sqlite:///reminders.db", clock=clock) as engine:
    engine.do(delay(StateCtx("tea", annotations={"text": "take the bag out"}), "remind", 4 * 60))
    engine.do(delay(StateCtx("egg", annotations={"text": "it is hard now"}), "remind", 9 * 60))

with Engine("sqlite:///reminders.db", clock=clock) as engine:  # after a restart
    engine.register(remind)
    tea = engine.get("tea")
    engine.run_until_idle(advance=True)
    print("the tea is", tea.status())
