"""Firing: looks at the schedules that are due, and starts the runs of their ticks; ends the runs whose time limit is over.

Every worker of a namespace does that, for flows of any name. One commit makes the run and moves the schedule on, unless it
was changed since: so each tick has one run, however many workers look and whenever one of them dies.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from stepflow.drivers.port.commit import Commit, Record
from stepflow.drivers.port.delays import Delay
from stepflow.drivers.port.queries import DueSummary, EndedQuery, RunQuery
from stepflow.drivers.port.schedules import RUN_END, ScheduleQuery, ScheduleRow
from stepflow.drivers.port.store import Store
from stepflow.engine.clock import NEVER, SECOND, Clock, moment, utc_text
from stepflow.engine.commit.committer import Committer
from stepflow.engine.commit.scheduled_run import change_of, run_of
from stepflow.errors import NotFound, RevMismatch, RunEnded, StoreError
from stepflow.model.codec import Unopened
from stepflow.model.flow import Flow
from stepflow.model.schedule import SCHEDULE, Look, ScheduleRecord, look, why_missed
from stepflow.model.schedule_edit import read_schedule
from stepflow.model.state import State

log = logging.getLogger("stepflow")
PAGE = 100
# Until the next look at a schedule that this process cannot read, or fire: less than ticks may be late. It does not write that down: another
# worker, which may have the key, or be of a newer version, looks at the schedule when it is due.
BROKEN = 5 * SECOND
HELD = SECOND  # until the next look at a run whose time limit is over, but which a worker holds


class Firing:
    """Fires the schedules of a namespace; `cancel` ends a run as cancelled, `delay_of` is the delay that will move a parked one on.

    `time_out` ends the runs of rows; False: look again later. `ends` counts all runs that ended here, by their final status.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        committer: Committer,
        flows: Mapping[str, Flow[Any, Any]],
        cancel: Callable[[str], Awaitable[None]],
        delay_of: Callable[[Record], Awaitable[Delay | None]],
        time_out: Callable[[Sequence[ScheduleRow]], Awaitable[list[State | bool | BaseException]]],
    ) -> None:
        self._store, self._clock, self._committer, self._flows = store, clock, committer, flows
        self._cancel, self._delay_of, self._time_out = cancel, delay_of, time_out
        self.ends = Counter[str]()
        self._next = NEVER  # when the first schedule is due, as far as this worker knows
        self._ended: set[str] = set()  # schedules of which a run ended here
        self._failing: dict[str, int] = {}  # schedules that could not be fired here, and when to look at them again
        self._logged: set[str] = set()  # those of them that cannot be read here

    def first(self, ahead: DueSummary) -> int:
        """When the first run or schedule is due; NEVER if none is."""
        found = NEVER if ahead.schedule is None else ahead.schedule
        # While some fail, `fire` knows which of them this worker leaves.
        self._next = max(found, self._next) if self._failing else found
        return self._next if ahead.next_due is None else min(self._next, ahead.next_due)

    def ended(self, state: State, status: str) -> None:
        """A run was released, or timed out, and if it ended with this status, or was parked: a tick of its schedule may wait for that."""
        if status:
            self.ends[status] += 1
        if (status or state.parked) and SCHEDULE in state.labels:
            self._ended.add(state.labels[SCHEDULE])

    async def fire(self) -> bool:
        """Look at what is due, and for ticks that waited for a run that ended here; whether there was anything.

        A schedule that cannot be fired keeps no other one back, and no run: its error is raised when all others were looked at, and this
        worker leaves it alone for a while.
        """
        now = self._clock.now()
        due = self._next <= now
        self._failing = {name: until for name, until in self._failing.items() if until > now}
        rows = await self._read(ScheduleQuery(until=now, limit=PAGE + len(self._failing))) if due else []
        looked, failed, problem = False, dict[str, int](), None
        if rows := [row for row in rows if row.id not in self._failing]:
            ends = [row for row in rows if row.id.startswith(RUN_END)]
            looked, failed, problem = await self._time_out_all(ends, now)
            rows = [row for row in rows if not row.id.startswith(RUN_END)]
        for schedule_id in sorted(self._ended.difference(self._failing, [row.id for row in rows])):
            rows += [row for row in await self._read(ScheduleQuery(schedule_id)) if row.due is not None]
        self._ended.clear()
        for row in rows:
            try:
                looked = await self._look(row) or looked
            except Exception as error:  # noqa: BLE001 - raised below
                failed[row.id], problem = now + BROKEN, problem or error
                log.error("schedule %s cannot be fired here now: %s", row.id, error)
        if due or looked or failed:  # fails if it is the store that failed: then all of them are looked at again
            following = await self._read(ScheduleQuery(until=NEVER, limit=1 + len(self._failing) + len(failed)))
            self._failing |= failed
            self._next = min((self._due(row) for row in following), default=NEVER)
        if problem is not None:
            raise problem
        return looked

    async def _time_out_all(
        self, rows: Sequence[ScheduleRow], now: int
    ) -> tuple[bool, dict[str, int], Exception | None]:
        """End the runs of these rows: whether there was one, when to look again at those that could not be ended, and an error if there was one."""
        looked, later, problem = False, dict[str, int](), None
        for row, found in zip(rows, await self._time_out(rows) if rows else (), strict=True):
            if isinstance(found, Exception):
                later[row.id], problem = now + BROKEN, problem or found
                log.error("run %s cannot be ended here now: %s", row.id.removeprefix(RUN_END), found)
            elif isinstance(found, BaseException):
                raise found
            elif found is False:
                later[row.id] = now + HELD
            else:
                looked = True
                if isinstance(found, State):
                    self.ended(found, found.transition.status)
        return looked, later, problem

    def _due(self, row: ScheduleRow) -> int:
        """When this worker shall look at it."""
        return NEVER if row.due is None else max(row.due, self._failing.get(row.id, row.due))

    async def _read(self, query: ScheduleQuery) -> list[ScheduleRow]:
        return await self._committer.call(self._store.read, query)

    async def _ended_of(self, record: ScheduleRecord) -> frozenset[str]:
        """Its runs that go on no more: they ended, or are parked, as flow functions end."""
        if not record.active:
            return frozenset()
        found: set[str] = set(await self._committer.call(self._store.read, EndedQuery(record.active)))
        left = tuple(run_id for run_id in record.active if run_id not in found)
        if left:
            query = RunQuery(self._clock.now(), ids=left)
            records: list[Record] = await self._committer.call(self._store.read, query)
            rests = [one for one in records if one.state.parked and one.row is None and not one.state.transition.events]
            found |= {one.state.id for one in rests if await self._delay_of(one) is None}
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
            if found.fire is not None and record.unreadable:
                raise Unopened(record.unreadable)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - logged
            self._leave(row.id, error)
            return False
        self._logged.discard(row.id)
        if found.record == record and found.fire is None and row.due is not None and row.due > self._clock.now():
            return False
        for run_id in found.cancel:
            await self._cancelled(run_id)
        await self._apply(row, found)
        return True

    def _leave(self, schedule_id: str, error: Exception) -> None:
        """Leave a schedule that cannot be read here to other workers, for a while."""
        self._failing[schedule_id] = self._clock.now() + BROKEN
        if schedule_id not in self._logged:
            trace = None if isinstance(error, Unopened) else error
            text = "schedule %s cannot be read here, it waits for a worker that can: %s"
            log.error(text, schedule_id, error, exc_info=trace)
            self._logged.add(schedule_id)

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
        log.warning(
            "schedule %s: the ticks from %s until %s were missed: %s", record.id, first, until, why_missed(record)
        )
    for tick in found.skipped:
        log.info("schedule %s: the tick at %s started no run: %s", record.id, utc_text(moment(tick)), record.why)
