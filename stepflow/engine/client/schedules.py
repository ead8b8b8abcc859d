"""Schedules: makes, changes and reads the schedules of a namespace, and starts runs of theirs by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from attrs import evolve

from stepflow.drivers.port.commit import Commit, Owner
from stepflow.drivers.port.queries import OwnerQuery, RunQuery
from stepflow.drivers.port.schedules import ScheduleChange, ScheduleEdit, ScheduleQuery, ScheduleRow, no_schedule
from stepflow.engine.checks import ID_BYTES, checked_at, checked_flow, checked_run_timeout
from stepflow.engine.client.client import Client, planned_start
from stepflow.engine.client.info import RunInfo, info_of
from stepflow.engine.clock import Clock, microseconds, uuid7
from stepflow.engine.commit.committer import Committer
from stepflow.engine.commit.scheduled_run import change_of, run_of
from stepflow.engine.lifetime import Lifetime
from stepflow.engine.membership.notifier import Notifier
from stepflow.engine.store_reader import StoreReader
from stepflow.errors import CodecError, RevMismatch, StepflowError
from stepflow.model import schedule_edit as edits
from stepflow.model.checks import checked_id, checked_own_labels, checked_priority, checked_size
from stepflow.model.cron import interval_of, parse_cron
from stepflow.model.flow import Flow
from stepflow.model.schedule import GRACE, OVERLAPS, SCHEDULE, ScheduleRecord
from stepflow.model.schedule_edit import read_schedule
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

    async def put(self, wanted: ScheduleRecord, tx: Any = None) -> None:
        """Make a schedule, or let the one of its id be like this one; that one keeps a pause, queued ticks, and its next tick if its ticks stay the same."""
        self._lifetime.check_open()
        if tx is not None:
            now = self._clock.now()
            edit = ScheduleEdit(wanted.id, now, edits.put(wanted, now), "make")
            await self._client.post(tx, Commit(edit=edit))
            return
        while True:
            row = await self._row(wanted.id)
            now = self._clock.now()
            known, version = (None, 0) if row is None else (record_of(row), row.version)
            record = edits.merged(wanted, known, now)
            if await self._changed(change_of(record, version, now)):
                return

    async def change(self, schedule_id: str, by: Callable[[ScheduleRecord], ScheduleRecord]) -> None:
        """Replace the record by `by(record)`."""
        self._lifetime.check_open()
        while True:
            row, record = await self.load(schedule_id)
            changed = by(record)
            if changed == record or await self._changed(change_of(changed, row.version, self._clock.now())):
                return

    async def pause(self, schedule_id: str, tx: Any = None) -> None:
        """No tick starts a run any more."""
        if tx is not None:
            await self._edit(tx, schedule_id, edits.pause)
            return
        await self.change(schedule_id, lambda record: evolve(record, paused=True))

    async def resume(self, schedule_id: str, tx: Any = None) -> None:
        """Go on with the first tick after now."""
        if tx is not None:
            await self._edit(tx, schedule_id, edits.resume)
            return
        await self.change(schedule_id, lambda record: edits.resumed(record, self._clock.now()))

    async def delete(self, schedule_id: str, tx: Any = None) -> None:
        """Delete a schedule, also one that cannot be read here."""
        if tx is not None:
            await self._edit(tx, schedule_id, None)
            return
        self._lifetime.check_open()
        while not await self._changed(ScheduleChange(schedule_id, (await self.row(schedule_id)).version)):
            pass

    async def _edit(self, tx: Any, schedule_id: str, text: Callable[[int], str] | None) -> None:
        """Change the schedule, as it is then, when the caller's own transaction commits."""
        await self._load_in(tx, schedule_id)
        now = self._clock.now()
        await self._client.post(tx, Commit(edit=ScheduleEdit(schedule_id, now, text and text(now))))

    async def trigger(self, schedule_id: str, tx: Any = None) -> str:
        """Start a run now, whatever the schedule says; its id."""
        self._lifetime.check_open()
        run_id = f"{schedule_id}@trigger-{uuid7(self._clock)}"
        if tx is not None:
            record = record_of(await self._load_in(tx, schedule_id))
            now = self._clock.now()
            edit = ScheduleEdit(schedule_id, now, edits.started(run_id, now), "ignore")
            await self._client.post(tx, run_of(record, run_id, now)._replace(edit=edit))
            return run_id
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
        """Start the runs of the ticks from `start` to `end` (both included) that have none; the ids of all of them.

        The clock of the caller may be ahead of that of the store: an `end` that is less than a minute in the future means now.
        """
        self._lifetime.check_open()
        now, first, last = self._clock.now(), _moment("start", start), _moment("end", end)
        if first > last:
            raise StepflowError(f"backfill({start}, {end}): start is after end: give the earlier time first")
        if last > now + GRACE:
            raise StepflowError(
                f"backfill(end={end}): that is in the future: give a time up to now; later ticks fire by themselves"
            )
        _row, record = await self.load(schedule_id)
        found = list(islice(ticks(record.times, first - 1, min(last, now)), MOST_BACKFILLED + 1))
        if len(found) > MOST_BACKFILLED:
            raise StepflowError(
                f"backfill({start}, {end}): there are more than {MOST_BACKFILLED} ticks: give a shorter range, several times"
            )
        ids = [record.run_id(tick) for tick in found]
        await self._client.create_many([run_of(record, run_id, now) for run_id in ids])
        if ids:
            await self.change(schedule_id, lambda record: record.backfilled(*ids))
        return ids

    async def load(self, schedule_id: str) -> tuple[ScheduleRow, ScheduleRecord]:
        """A schedule; NotFound if there is none, CodecError for one that cannot be read here."""
        row = await self.row(schedule_id)
        return row, record_of(row)

    async def row(self, schedule_id: str) -> ScheduleRow:
        """A schedule as it is stored; NotFound if there is none."""
        row = await self._row(schedule_id)
        if row is None:
            raise no_schedule(schedule_id)
        return row

    async def _load_in(self, tx: Any, schedule_id: str) -> ScheduleRow:
        """A schedule as the caller's own transaction sees it."""
        row = await self._client.load_schedule_in(tx, schedule_id)
        if row is None:
            raise no_schedule(schedule_id)
        return row

    async def every(self) -> list[ScheduleRow]:
        """All schedules as they are stored, by id."""
        self._lifetime.check_open()
        found: list[ScheduleRow] = []
        query = ScheduleQuery(limit=PAGE)
        while page := await self._reader.read(query):
            found += page
            query = evolve(query, after=page[-1].id)
        return found

    async def runs(self, schedule_id: str, limit: int) -> list[RunInfo]:
        """The newest runs that a schedule started, the newest first."""
        now = self._clock.now()
        records = await self._reader.read(RunQuery(now, labels={SCHEDULE: schedule_id}, limit=limit))
        paused = await self._client.pauses.names()
        return [info_of(record, now, paused=record.created.flow in paused) for record in records]

    def knows(self, flow: str) -> bool:
        """Whether this engine has registered a flow of this name."""
        return flow in self._flows

    async def is_paused(self, flow: str) -> bool:
        """Whether the runs of this flow are held back."""
        return flow in await self._client.pauses.names()

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


def record_of(row: ScheduleRow) -> ScheduleRecord:
    """The record of a schedule. Raises CodecError for one that cannot be read here."""
    try:
        return read_schedule(row.body)
    except StepflowError as error:
        raise CodecError(
            f"schedule {row.id!r} cannot be read here: {error}; delete it, and make it again, if it is damaged"
        ) from error


def checked_schedule_id(given: Any) -> str:
    """The id of a schedule; those that begin with a control character stand for the time limits of runs."""
    if not (name := checked_id(given))[0].isprintable():
        raise StepflowError(f"id={name!r:.80}: give a text that begins with a printable character")
    return name


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
    run_timeout: Any,
    now: int,
) -> ScheduleRecord:
    """The record of a new schedule. Raises StepflowError for what cannot be meant, and what `start` raises for the input."""
    checked_flow(flow, "schedule")
    name = checked_size("id", checked_schedule_id(schedule_id), ID_BYTES - TICK_BYTES)
    text, interval = _timing(cron, every, tz)
    if overlap not in OVERLAPS:
        raise StepflowError(f"overlap={overlap!r:.80}: give 'skip', 'queue' or 'cancel'")
    delay = _span("jitter", jitter)
    if interval and delay >= interval:
        raise StepflowError(f"jitter={jitter!r:.80}: it is not shorter than the interval: give less than every=")
    own, order = checked_own_labels(labels), checked_priority(priority)
    commit = planned_start(flow, exchange, name, own, now, order, now)
    (write,) = commit.writes
    assert write.created is not None
    transition, notes = write.state.transition, dict(write.state.transition.annotations)
    deadline = notes.pop(DEADLINE, None)
    return ScheduleRecord(
        id=name, flow=flow.name, to=transition.to, notes=notes, limit=0 if deadline is None else int(deadline) - now,
        exchange=str(write.exchange), input_hash=write.created.input_hash, cron=text, every=interval, tz=tz, anchor=now,
        overlap=overlap, catch_up=_span("catch_up", catch_up), jitter=delay, labels=own, priority=order, created_at=now,
        run_timeout=checked_run_timeout(flow, run_timeout),
    )  # fmt: skip


def _timing(cron: Any, every: Any, tz: Any) -> tuple[str, int]:
    """(expression, 0) or ("", interval in microseconds)."""
    if (cron is None) is (every is None):
        given = "neither was" if cron is None else "both were"
        raise StepflowError(
            f'schedule(cron=, every=): {given} given: give one, e.g. cron="30 2 * * *" or every=timedelta(hours=1)'
        )
    zone_of(tz)
    interval = None
    if every is not None:
        if not isinstance(every, timedelta) or every < timedelta(microseconds=LEAST):
            plain = isinstance(every, int | float) and not isinstance(every, bool) and 0.001 <= every < 10**9
            example = f"for seconds timedelta(seconds={every!r})" if plain else "e.g. timedelta(minutes=5)"
            raise StepflowError(f"every={every!r:.80}: give a timedelta of a millisecond or more, {example}")
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
