"""Cron: one commit parks a State, delays it until its next time, and starts a task."""

from datetime import timedelta

from stepflow import Command, Engine, StateCtx, commit, delay, flow, park, transit
from stepflow.testing import VirtualClock

clock = VirtualClock()
HOUR = timedelta(hours=1)


@flow("hourly")
def hourly(ctx: StateCtx) -> Command:
    now = clock.datetime()
    task = StateCtx(f"report-{now:%H}")
    return commit(park(ctx), delay(ctx, "hourly", now.replace(minute=0) + HOUR), transit(task, "report"))


@flow("report")
def report(ctx: StateCtx) -> Command:
    print(f"{clock.datetime():%H:%M} {ctx.id}")
    return commit(park(ctx))


with Engine("memory://", clock=clock) as engine:
    clock.advance(timedelta(minutes=25))
    engine.register(hourly, report)
    engine.do(commit(transit(StateCtx("cron"), "hourly")))
    engine.execute(engine.get_state("cron"))
    for _ in range(3):
        due = engine.run_until_idle().next_due
        assert due is not None  # the next report
        print(f"next at {due:%H:%M}")
        clock.advance(due - clock.datetime())
    engine.run_until_idle()
