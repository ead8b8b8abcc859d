"""Firing: looks at the schedules that are due, and starts the runs of their ticks.

Every worker of a namespace does that, for flows of any name. One commit makes the run and moves the schedule on, unless it
was changed since: so each tick has one run, however many workers look and whenever one of them dies.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from stepflow.drivers.port.commit import Commit
from stepflow.drivers.port.queries import DueSummary, EndedQuery
from stepflow.drivers.port.schedules import ScheduleChange, ScheduleQuery, ScheduleRow
from stepflow.drivers.port.store import Store
from stepflow.engine.clock import NEVER, SECOND, Clock, moment, utc_text
from stepflow.engine.commit.committer import Committer
from stepflow.engine.commit.scheduled_run import change_of, run_of
from stepflow.errors import NotFound, RevMismatch, RunEnded, StoreError
from stepflow.model.flow import Flow
from stepflow.model.schedule import SCHEDULE, Look, ScheduleRecord, look
from stepflow.model.schedule_edit import read_schedule
from stepflow.model.state import State

log = logging.getLogger("stepflow")
PAGE = 100
BROKEN = 5 * SECOND  # until the next look at a schedule that this process cannot read: less than ticks may be late


class Firing:
    """Fires the schedules of a namespace; `cancel` ends a run as cancelled."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        committer: Committer,
        flows: Mapping[str, Flow[Any, Any]],
        cancel: Callable[[str], Awaitable[None]],
    ) -> None:
        self._store, self._clock, self._committer, self._flows, self._cancel = store, clock, committer, flows, cancel
        self._next = NEVER  # when the first schedule is due, as far as this worker knows
        self._ended: set[str] = set()  # schedules of which a run ended here

    def first(self, ahead: DueSummary) -> int:
        """When the first run or schedule is due; NEVER if none is."""
        self._next = NEVER if ahead.schedule is None else ahead.schedule
        return self._next if ahead.next_due is None else min(self._next, ahead.next_due)

    def ended(self, state: State) -> None:
        """A run ended here: a tick of its schedule may wait for that."""
        if SCHEDULE in state.labels:
            self._ended.add(state.labels[SCHEDULE])

    async def fire(self) -> bool:
        """Look at what is due, and for ticks that waited for a run that ended here; whether there was anything."""
        due = self._next <= self._clock.now()
        rows = await self._read(ScheduleQuery(until=self._clock.now(), limit=PAGE)) if due else []
        for schedule_id in sorted(self._ended.difference(row.id for row in rows)):
            rows += [row for row in await self._read(ScheduleQuery(schedule_id)) if row.due is not None]
        self._ended.clear()
        looked = [await self._look(row) for row in rows]
        if due or any(looked):
            following = await self._read(ScheduleQuery(until=NEVER, limit=1))
            self._next = NEVER if not following or following[0].due is None else following[0].due
        return any(looked)

    async def _read(self, query: ScheduleQuery) -> list[ScheduleRow]:
        return await self._committer.call(self._store.read, query)

    async def _ended_of(self, record: ScheduleRecord) -> frozenset[str]:
        if not record.active:
            return frozenset()
        found: list[str] = await self._committer.call(self._store.read, EndedQuery(record.active))
        return frozenset(found)

    async def _look(self, row: ScheduleRow) -> bool:
        """Do what is to be done now; False if that is nothing, since the schedule is not due and no tick waits."""
        try:
            record = read_schedule(row.body)
            if record.paused:  # a change that came with a transaction, which is not in the record yet
                await self._commit(Commit(schedule=change_of(record, row.version, self._clock.now())))
                return True
            if not record.queued and row.due is not None and row.due > self._clock.now():
                return False  # a run of it ended, for which no tick waits
            ended = await self._ended_of(record)
            found = look(record, self._clock.now(), ended)
        except StoreError:
            raise
        except Exception:
            log.exception("schedule %s cannot be read here; next look in 5 s, another worker may read it", row.id)
            change = ScheduleChange(row.id, row.version, self._clock.now() + BROKEN, row.body)
            await self._commit(Commit(schedule=change))
            return True
        if found.record == record and found.fire is None and row.due is not None and row.due > self._clock.now():
            return False
        for run_id in found.cancel:
            await self._cancelled(run_id)
        await self._apply(row, found)
        return True

    async def _cancelled(self, run_id: str) -> None:
        try:
            await self._cancel(run_id)
        except (NotFound, RunEnded):
            log.debug("run %s ended before it could be cancelled", run_id)

    async def _apply(self, row: ScheduleRow, found: Look) -> None:
        """Commit what a look decided, unless another worker was first."""
        now, record = self._clock.now(), found.record
        change = Commit(schedule=change_of(record, row.version, now))
        if found.fire is None:
            done = await self._commit(change)
        else:
            run_id = record.run_id(found.fire)
            commit = run_of(record, run_id, now, self._first(record))
            done = await self._commit(commit._replace(schedule=change.schedule), run_id)
            if done is None:  # there is a run of this tick, e.g. of a backfill, or there was
                done = await self._commit(change)
        if done:
            _tell(found)

    def _first(self, record: ScheduleRecord) -> Any:
        flow = self._flows.get(record.flow)
        return None if flow is None else flow.first().transition

    async def _commit(self, commit: Commit, run_id: str = "") -> bool | None:
        """Whether the commit was applied; None if `run_id` is there already."""
        try:
            await self._committer.submit(commit)
        except RevMismatch as error:
            return None if run_id in error.ids else False
        return True


def _tell(found: Look) -> None:
    record = found.record
    if found.missed is not None:
        first, until = (utc_text(moment(at)) for at in found.missed)
        log.warning("schedule %s: the ticks from %s until %s were missed: %s", record.id, first, until, record.why)
    for tick in found.skipped:
        log.info("schedule %s: the tick at %s started no run: %s", record.id, utc_text(moment(tick)), record.why)
