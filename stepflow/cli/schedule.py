"""The verb `schedule`: lists schedules, shows why one fires or not, and pauses, resumes, triggers or deletes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import click

from stepflow.cli.audited import audited
from stepflow.cli.target import StoreTarget, with_store
from stepflow.cli.verbs import Verbs
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.client.schedule import AsyncSchedule, ScheduleInfo

COLUMNS = ("id", "flow", "timing", "zone", "next", "last", "state")


@click.group("schedule", cls=Verbs)
def command() -> None:
    """List schedules, and pause, resume, trigger or delete one."""


@command.command("list")
@with_store
def list_(target: StoreTarget) -> None:
    """List the schedules of the namespace."""
    found = target.run(lambda engine: engine.schedules())
    if target.out.json:
        return target.out.value(found)
    return target.out.table(COLUMNS, ([s.id, s.flow, s.timing, s.tz, s.next, s.last, _state(s)] for s in found))


@command.command("show")
@click.argument("schedule_id", metavar="ID")
@click.option("--runs", "limit", default=10, show_default=True, type=click.IntRange(1), help="At most this many runs.")
@with_store
def show(target: StoreTarget, schedule_id: str, limit: int) -> None:
    """Tell when a schedule fires next, why its last ticks did not, and which runs it started."""

    async def work(engine: AsyncEngine) -> tuple[ScheduleInfo, str, list[Any]]:
        schedule = engine.get_schedule(schedule_id)
        return await schedule.info(), await schedule.explain(), await schedule.runs(limit)

    info, text, runs = target.run(work)
    if target.out.json:
        return target.out.value({"info": info, "explain": text.splitlines(), "runs": runs})
    target.out.line(text)
    return target.out.table(("run", "status", "updated"), ([run.id, run.status, run.updated_at] for run in runs))


def _state(info: ScheduleInfo) -> str:
    if info.created_at is None:
        return f"unreadable: {info.unreadable}"
    state = "paused" if info.paused else f"{len(info.queued)} queued" if info.queued else "active"
    return f"{state}, input unreadable" if info.unreadable else state


def _verb(name: str, text: str, done: str, work: Callable[[AsyncSchedule[Any]], Awaitable[Any]]) -> None:
    """Add a verb that changes one schedule; `done` is printed with what `work` returns."""

    @command.command(name, help=text)
    @click.argument("schedule_id", metavar="ID")
    @with_store
    def verb(target: StoreTarget, schedule_id: str) -> None:
        async def change(engine: AsyncEngine) -> Any:
            async with audited(target, f"{name}_schedule", "schedule", schedule_id) as result:
                found = await work(engine.get_schedule(schedule_id))
                result |= {"runs": [found.id]} if hasattr(found, "id") else {}
            return found

        found = getattr(target.run(change), "id", None)
        if target.out.json:
            return target.out.value({"id": schedule_id} | ({"run": found} if found else {}))
        return target.out.line(f"{schedule_id}: {done}" + (f" {found}" if found else ""))


_verb("pause", "Let no tick start a run until `resume`.", "is paused", lambda one: one.pause())
_verb("resume", "Go on with the first tick after now.", "goes on", lambda one: one.resume())
_verb("trigger", "Start a run now, beside the ticks.", "started run", lambda one: one.trigger())
_verb("delete", "Delete a schedule; its runs go on.", "is deleted", lambda one: one.delete())
