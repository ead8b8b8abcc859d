"""AsyncSchedule: a handle on one schedule; making one does no I/O, each method asks the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from attrs import frozen

from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.schedules import ScheduleRow
from stepflow.engine.client.explain import shell_word
from stepflow.engine.client.info import RunInfo
from stepflow.engine.client.run import AsyncRun
from stepflow.engine.client.schedules import Schedules
from stepflow.engine.clock import Clock, moment, utc_text
from stepflow.errors import StepflowError
from stepflow.model.checks import checked_limit
from stepflow.model.own_flows import OWN_FLOWS
from stepflow.model.schedule import ScheduleRecord, without_missed
from stepflow.model.schedule_edit import read_schedule
from stepflow.model.timetable import zone_of

E = TypeVar("E")
SHOWN = 5  # names in an explanation
NOTHING = timedelta(0)


@frozen
class ScheduleInfo:
    """A schedule at one moment.

    `timing` is its cron expression, or the interval in words. `next` is the next tick (None while it is paused), `last` the
    last one that started a run, whose id is `last_run`; `skipped` is the last tick that started none, `why` tells the reason. `queued` are
    ticks whose runs begin when the earlier ones have ended, `active` runs that may not have ended. `run_timeout` is the time limit of each run.
    `unreadable` says why this engine cannot start a run with its input, with the payload stages that are needed; empty if it can.
    Of one whose stored form is damaged, or of a newer version, it says that: then only the id is known, all else is empty, and `created_at` is None.
    """

    id: str
    flow: str
    timing: str
    tz: str
    paused: bool
    next: datetime | None
    last: datetime | None
    last_run: str
    skipped: datetime | None
    why: str
    queued: tuple[datetime, ...]
    active: tuple[str, ...]
    overlap: str
    catch_up: timedelta
    jitter: timedelta
    labels: Mapping[str, str]
    priority: int
    created_at: datetime | None
    unreadable: str = ""
    run_timeout: timedelta | None = None


class AsyncSchedule(Generic[E]):
    """A schedule that starts runs with results of type `E`; every method raises NotFound if there is no such schedule."""

    id: str

    def __init__(self, schedules: Schedules, clock: Clock, schedule_id: str, get: Callable[[str], AsyncRun[E]]) -> None:
        self.id = schedule_id
        self._schedules, self._clock, self._get = schedules, clock, get

    def __repr__(self) -> str:
        return f"AsyncSchedule({self.id!r})"

    async def info(self) -> ScheduleInfo:
        """Everything that is known of the schedule, except its input."""
        return info_of_row(await self._schedules.row(self.id))

    async def pause(self, *, tx: Any = None) -> None:
        """Let no tick start a run until `resume`; runs that exist go on.

        With `tx`, the caller's open transaction on the same store, it takes place when that commits, and a rollback takes it back.
        """
        await self._schedules.pause(self.id, tx)

    async def resume(self, *, tx: Any = None) -> None:
        """Go on with the first tick after now; those of the pause are not made up for, `backfill` does that. `tx` as in `pause`."""
        await self._schedules.resume(self.id, tx)

    async def trigger(self, *, tx: Any = None) -> AsyncRun[E]:
        """Start a run now, beside the ticks: also while the schedule is paused, and whatever `overlap` says. `tx` as in `pause`."""
        return self._get(await self._schedules.trigger(self.id, tx))

    async def backfill(self, start: datetime, end: datetime) -> list[AsyncRun[E]]:
        """Start the runs of the ticks from `start` to `end`, both included, that have no run; the runs of all these ticks.

        They are due at once, whatever `overlap` says, and no later tick cancels them; the concurrency of the flow limits how many go at the same time. A tick
        whose run was pruned is done again. Raises StepflowError for a time in the future, or more than 10,000 ticks.
        """
        return [self._get(run_id) for run_id in await self._schedules.backfill(self.id, start, end)]

    async def runs(self, limit: int = 50) -> list[RunInfo]:
        """The newest runs that it started, the newest first."""
        found = await self._schedules.runs(self.id, checked_limit(limit))
        if not found:
            await self._schedules.row(self.id)
        return found

    async def delete(self, *, tx: Any = None) -> None:
        """Delete the schedule; runs that exist go on. `tx` as in `pause`."""
        await self._schedules.delete(self.id, tx)

    async def explain(self) -> str:
        """When it fires next, why its last ticks started no run, and whether a worker is there to do it."""
        row = await self._schedules.row(self.id)
        try:
            record = read_schedule(row.body)
        except StepflowError as error:
            return (
                f"schedule {self.id!r} cannot be read here: {error}\nno tick of it starts a run while workers cannot read it either: update"
                f" stepflow, or delete it, `stepflow schedule delete {shell_word(self.id)}`, and make it again"
            )
        known, workers = self._schedules.knows(record.flow), await self._schedules.workers()
        return explained(
            record, self._clock.now(), workers, known, flow_paused=await self._schedules.is_paused(record.flow)
        )


def info_of_row(row: ScheduleRow) -> ScheduleInfo:
    """What callers see of a schedule."""
    try:
        return _info_of(read_schedule(row.body))
    except StepflowError as error:
        return ScheduleInfo(
            id=row.id, flow="", timing="", tz="UTC", paused=False, next=None, last=None, last_run="", skipped=None, why="", queued=(), active=(),
            overlap="", catch_up=NOTHING, jitter=NOTHING, labels={}, priority=0, created_at=None, unreadable=str(error),
        )  # fmt: skip


def _info_of(record: ScheduleRecord) -> ScheduleInfo:
    return ScheduleInfo(
        id=record.id, flow=record.flow, timing=_timing(record), tz=record.tz, paused=record.paused,
        next=None if record.paused else _at(record.tick), last=_at(record.last), last_run=record.last_run,
        skipped=_at(record.skipped), why=record.why, queued=tuple(moment(tick) for tick in record.queued),
        active=record.active, overlap=record.overlap, catch_up=timedelta(microseconds=record.catch_up),
        jitter=timedelta(microseconds=record.jitter), labels=record.labels, priority=record.priority,
        created_at=moment(record.created_at), unreadable=record.unreadable,
        run_timeout=timedelta(microseconds=record.run_timeout) if record.run_timeout else None,
    )  # fmt: skip


def explained(
    record: ScheduleRecord, now: int, workers: list[Owner], known_here: bool = False, *, flow_paused: bool = False
) -> str:
    """When a schedule fires next, and why it did not."""
    if not record.paused:
        record, _missed = without_missed(record, now)
    zone = zone_of(record.tz)
    where = f" in {record.tz}" if record.cron else ""
    lines = [f"schedule {record.id!r} starts flow {record.flow!r} at {_timing(record)}{where}"]
    if record.paused:
        lines.append(
            "it is paused: schedule.resume(), or `stepflow schedule resume`, lets it go on with the next tick after that"
        )
    elif record.tick is None:
        lines.append("it has no ticks any more")
    else:
        fires = moment(record.at(record.tick))
        later = f", with its jitter at {utc_text(fires)}" if record.jitter else ""
        local = moment(record.tick).astimezone(zone).isoformat()
        lines.append(f"its next tick is {utc_text(moment(record.tick))} ({local}){later}")
        if record.at(record.tick) <= now:
            lines.append(
                "that is due: a worker is about to fire it" if workers else "that is due, but no worker is at work"
            )
    if record.last is not None:
        lines.append(f"its last tick, {utc_text(moment(record.last))}, started run {record.last_run!r}")
    if record.queued:
        behind = ", ".join(map(repr, record.active[:SHOWN]))
        lines.append(
            f"{len(record.queued)} tick(s) are queued since {utc_text(moment(record.queued[0]))}, behind run {behind}"
        )
    if record.skipped is not None:
        lines.append(f"the tick {utc_text(moment(record.skipped))} started no run: {record.why}")
    if record.unreadable:
        lines.append(f"a worker that has the key starts its runs, this engine cannot: {record.unreadable}")
    if flow_paused:
        lines.append(
            f"flow {record.flow!r} was paused, no worker takes its runs: `stepflow resume --flow {shell_word(record.flow)}`"
        )
    if not known_here and not any(record.flow in worker.flows for worker in workers):
        known = sorted({repr(name) for worker in workers for name in worker.flows if name not in OWN_FLOWS})[:SHOWN]
        those = f"of {len(workers)} at work none has, but {', '.join(known)}" if workers else "none is at work"
        lines.append(f"its runs wait for a worker that has registered flow {record.flow!r}: {those}")
    return "\n".join(lines)


def _timing(record: ScheduleRecord) -> str:
    return record.cron or f"every {timedelta(microseconds=record.every)}"


def _at(instant: int | None) -> datetime | None:
    return None if instant is None else moment(instant)
