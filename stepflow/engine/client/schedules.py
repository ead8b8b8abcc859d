"""Schedules: makes, changes and reads the schedules of a namespace, and starts runs of theirs by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from attrs import evolve

from stepflow.drivers.port.commit import Commit, Owner
from stepflow.drivers.port.queries import OwnerQuery, RunQuery
from stepflow.drivers.port.schedules import ScheduleChange, ScheduleQuery, ScheduleRow
from stepflow.engine.checks import ID_BYTES, checked_at, checked_flow, checked_priority, checked_size
from stepflow.engine.client.client import Client, planned_start
from stepflow.engine.client.info import RunInfo, info_of
from stepflow.engine.clock import Clock, microseconds, uuid7
from stepflow.engine.commit.committer import Committer
from stepflow.engine.commit.scheduled_run import change_of, run_of
from stepflow.engine.lifetime import Lifetime
from stepflow.engine.membership.notifier import Notifier
from stepflow.engine.store_reader import StoreReader
from stepflow.errors import NotFound, RevMismatch, StepflowError
from stepflow.model.checks import checked_id, checked_labels
from stepflow.model.cron import interval_of, parse_cron
from stepflow.model.flow import Flow
from stepflow.model.schedule import OVERLAPS, SCHEDULE, ScheduleRecord, parse_schedule
from stepflow.model.state import DEADLINE
from stepflow.model.timetable import ticks, zone_of

TICK_BYTES = 40  # of the id of a run, after the id of its schedule
LEAST = 1000  # microseconds between two ticks
MOST_BACKFILLED = 10_000
PAGE = 1000


class Schedules:
    """The schedules of one namespace, for any process."""

    def __init__(
        self,
        clock: Clock,
        committer: Committer,
        notifier: Notifier,
        reader: StoreReader,
        lifetime: Lifetime,
        client: Client,
        flows: Mapping[str, Flow[Any, Any]],
    ) -> None:
        self._clock, self._committer, self._notifier = clock, committer, notifier
        self._reader, self._lifetime, self._client, self._flows = reader, lifetime, client, flows

    async def put(self, wanted: ScheduleRecord) -> None:
        """Make a schedule, or let the one of its id be like this one; that one keeps a pause, and its next tick if its ticks stay the same."""
        self._lifetime.check_open()
        while True:
            row = await self._row(wanted.id)
            now = self._clock.now()
            if row is None:
                record, version = evolve(wanted, tick=wanted.times.after(now)), 0
            else:
                record, version = _merged(wanted, parse_schedule(row.body), now), row.version
            if await self._changed(change_of(record, version, now)):
                return

    async def change(self, schedule_id: str, by: Callable[[ScheduleRecord], ScheduleRecord | None]) -> None:
        """Replace the record by `by(record)`, or delete the schedule (None)."""
        self._lifetime.check_open()
        while True:
            row, record = await self.load(schedule_id)
            changed = by(record)
            if changed is None:
                change = ScheduleChange(schedule_id, row.version)
            elif changed == record:
                return
            else:
                change = change_of(changed, row.version, self._clock.now())
            if await self._changed(change):
                return

    async def pause(self, schedule_id: str) -> None:
        """No tick starts a run any more."""
        await self.change(schedule_id, lambda record: evolve(record, paused=True))

    async def resume(self, schedule_id: str) -> None:
        """Go on with the first tick after now."""

        def resumed(record: ScheduleRecord) -> ScheduleRecord:
            tick = record.times.after(self._clock.now())
            return evolve(record, paused=False, tick=tick) if record.paused else record

        await self.change(schedule_id, resumed)

    async def trigger(self, schedule_id: str) -> str:
        """Start a run now, whatever the schedule says; its id."""
        self._lifetime.check_open()
        run_id = f"{schedule_id}@trigger-{uuid7(self._clock)}"
        while True:
            row, record = await self.load(schedule_id)
            now = self._clock.now()
            commit = run_of(record, run_id, now)
            if await self._committed(
                commit._replace(schedule=change_of(record.started(run_id), row.version, now)), schedule_id
            ):
                self._notifier.schedule_at(0)
                return run_id

    async def backfill(self, schedule_id: str, start: datetime, end: datetime) -> list[str]:
        """Start the runs of the ticks from `start` to `end` (both included) that have none; the ids of all of them."""
        self._lifetime.check_open()
        now, first, last = self._clock.now(), _moment("start", start), _moment("end", end)
        if first > last:
            raise StepflowError(
                f"backfill({start!r:.60}, {end!r:.60}): start is after end: give the earlier time first"
            )
        if last > now:
            raise StepflowError(
                f"backfill(end={end!r:.60}): that is in the future: give a time up to now; later ticks fire by themselves"
            )
        _row, record = await self.load(schedule_id)
        found = list(islice(ticks(record.times, first - 1, last), MOST_BACKFILLED + 1))
        if len(found) > MOST_BACKFILLED:
            raise StepflowError(
                f"backfill({start!r:.60}, {end!r:.60}): there are more than {MOST_BACKFILLED} ticks: give a shorter range, several times"
            )
        ids = [record.run_id(tick) for tick in found]
        await self._client.create_many([run_of(record, run_id, now) for run_id in ids])
        if ids:
            await self.change(schedule_id, lambda record: record.started(*ids))
        return ids

    async def load(self, schedule_id: str) -> tuple[ScheduleRow, ScheduleRecord]:
        """A schedule; NotFound if there is none."""
        row = await self._row(schedule_id)
        if row is None:
            raise NotFound(f"there is no schedule {schedule_id!r} in this namespace: engine.schedule() makes one")
        return row, parse_schedule(row.body)

    async def every(self) -> list[ScheduleRecord]:
        """All schedules, by id."""
        self._lifetime.check_open()
        found: list[ScheduleRow] = []
        after = None
        while page := await self._reader.read(ScheduleQuery(after=after, limit=PAGE)):
            found += page
            after = page[-1].id
        return [parse_schedule(row.body) for row in found]

    async def runs(self, schedule_id: str, limit: int) -> list[RunInfo]:
        """The newest runs that a schedule started, the newest first."""
        now = self._clock.now()
        records = await self._reader.read(RunQuery(now, labels={SCHEDULE: schedule_id}, limit=limit))
        return [info_of(record, now) for record in records]

    def knows(self, flow: str) -> bool:
        """Whether this engine has registered a flow of this name."""
        return flow in self._flows

    async def workers(self) -> list[Owner]:
        """The owners that claim runs of some flow, without those whose lock proves that they died."""
        peers = await self._reader.read(OwnerQuery())
        return [peer.owner for peer in peers if peer.owner.flows and peer.lock != "free"]

    async def _row(self, schedule_id: str) -> ScheduleRow | None:
        found: Sequence[ScheduleRow] = await self._reader.read(ScheduleQuery(schedule_id))
        return found[0] if found else None

    async def _changed(self, change: ScheduleChange) -> bool:
        done = await self._committed(Commit(schedule=change), change.id)
        if done and change.due is not None:
            self._notifier.schedule_at(change.due)
        return done

    async def _committed(self, commit: Commit, schedule_id: str) -> bool:
        """False if the schedule was changed since it was read."""
        try:
            await self._committer.submit(commit)
        except RevMismatch as error:
            if schedule_id not in error.ids:
                raise
            return False
        return True


def _merged(wanted: ScheduleRecord, known: ScheduleRecord, now: int) -> ScheduleRecord:
    """The schedule that is there, as it is wanted now."""
    same = wanted.timing == known.timing
    found = evolve(
        known,
        **{name: getattr(wanted, name) for name in WANTED},
    )
    return found if same else evolve(found, tick=found.times.after(now), queued=())


WANTED = (
    "flow", "to", "notes", "limit", "exchange", "input_hash", "cron", "every", "tz", "overlap", "catch_up", "jitter", "labels",
    "priority",
)  # fmt: skip
"""The fields of a record that the caller of `engine.schedule` decides."""


def planned_schedule(
    schedule_id: Any,
    flow: Any,
    exchange: Any,
    *,
    cron: Any,
    every: Any,
    tz: Any,
    overlap: Any,
    catch_up: Any,
    jitter: Any,
    labels: Mapping[str, str] | None,
    priority: Any,
    now: int,
) -> ScheduleRecord:
    """The record of a new schedule. Raises StepflowError for what cannot be meant, and what `start` raises for the input."""
    checked_flow(flow, "schedule")
    name = checked_size("id", checked_id(schedule_id), ID_BYTES - TICK_BYTES)
    text, interval = _timing(cron, every, tz)
    if overlap not in OVERLAPS:
        raise StepflowError(f"overlap={overlap!r:.80}: give 'skip', 'queue' or 'cancel'")
    delay = _span("jitter", jitter)
    if interval and delay >= interval:
        raise StepflowError(f"jitter={jitter!r:.80}: it is not shorter than the interval: give less than every=")
    own, order = checked_labels(labels), checked_priority(priority)
    commit = planned_start(flow, exchange, name, own, now, order, now)
    (write,) = commit.writes
    assert write.created is not None
    transition, notes = write.state.transition, dict(write.state.transition.annotations)
    deadline = notes.pop(DEADLINE, None)
    return ScheduleRecord(
        id=name, flow=flow.name, to=transition.to, notes=notes, limit=0 if deadline is None else int(deadline) - now,
        exchange=str(write.exchange), input_hash=write.created.input_hash, cron=text, every=interval, tz=tz, anchor=now,
        overlap=overlap, catch_up=_span("catch_up", catch_up), jitter=delay, labels=own, priority=order, created_at=now,
    )  # fmt: skip


def _timing(cron: Any, every: Any, tz: Any) -> tuple[str, int]:
    """(expression, 0) or ("", interval in microseconds)."""
    if (cron is None) is (every is None):
        given = "neither" if cron is None else "both"
        raise StepflowError(
            f'schedule(cron=, every=): {given} was given: give one, e.g. cron="30 2 * * *" or every=timedelta(hours=1)'
        )
    zone_of(tz)
    interval = None
    if every is not None:
        if not isinstance(every, timedelta) or every < timedelta(microseconds=LEAST):
            raise StepflowError(
                f"every={every!r:.80}: give a timedelta of a millisecond or more, e.g. timedelta(minutes=5)"
            )
        interval = microseconds(every)
    elif isinstance(cron, str) and (interval := interval_of(cron)) is not None and interval < LEAST:
        raise StepflowError(f"cron={cron!r:.80}: give a millisecond or more")
    if interval is None:
        return parse_cron(cron).text, 0
    if tz != "UTC":
        raise StepflowError(f"tz={tz!r:.80}: an interval is the same in every zone: leave tz= out, or give cron=")
    return "", interval


def _span(name: str, value: Any) -> int:
    if not isinstance(value, timedelta) or value < timedelta(0):
        raise StepflowError(f"{name}={value!r:.80}: give a timedelta that is not negative, e.g. timedelta(minutes=2)")
    return microseconds(value)


def _moment(name: str, value: Any) -> int:
    try:
        return checked_at(value)
    except StepflowError:
        raise StepflowError(
            f"{name}={value!r:.80}: give an aware datetime, e.g. datetime(2026, 3, 1, tzinfo=UTC)"
        ) from None
