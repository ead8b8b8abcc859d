"""Canceller: ends a run as cancelled, at once or by its holder, one whose time limit is over, and the open children of a run that ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any

from attrs import evolve

from stepflow.drivers.port.commit import SAME_PRIORITY, Cancel, Commit, Enqueue, Event, Record
from stepflow.drivers.port.inbox import cancel_of, timed_out
from stepflow.drivers.port.journal import JournalQuery, JournalRow
from stepflow.drivers.port.pauses import PausedFlowRow, PausedFlowsQuery
from stepflow.drivers.port.queries import RunQuery
from stepflow.drivers.port.schedules import RUN_END, ScheduleChange, ScheduleRow
from stepflow.drivers.port.store import Store
from stepflow.engine.clock import Clock
from stepflow.engine.commit.committer import Committer
from stepflow.engine.intents import is_intent
from stepflow.engine.membership.notifier import Notifier
from stepflow.errors import LostClaim, NotFound, RevMismatch, RunEnded, error_line
from stepflow.model.family import LEAVE, ON_PARENT_END, PARENT, PARENT_FAILED
from stepflow.model.outcome import failure
from stepflow.model.run_timeout import end_of
from stepflow.model.state import CANCEL, State

PAGE = 100  # children that are cancelled together
log = logging.getLogger("stepflow")


class Canceller:
    """Cancels runs by their id."""

    def __init__(self, store: Store, clock: Clock, committer: Committer, notifier: Notifier) -> None:
        self._store, self._clock, self._committer, self._notifier = store, clock, committer, notifier

    async def cancel(
        self, run_id: str, load: Callable[[str], Any] | None = None, known: Record | None = None, failed: str = ""
    ) -> None:
        """End a run as cancelled: at once if no worker holds it, else its holder does; `load` reads its record, `known` is what it read just now.

        `failed` is its parent, if that is why: an event of the run says so, unless a cancel was requested before.

        A cancelled run stays as it is; RunEnded for one that completed or failed, NotFound if there is none.
        """
        while True:
            record: Record = known or await (load or self._load)(run_id)
            known = None
            status = record.state.transition.status
            if status == "cancelled":
                return
            if status:
                raise RunEnded(run_id, status, "it cannot be cancelled")
            now = self._clock.now()
            told = (Event(run_id, PARENT_FAILED, failed, "null", now),) if failed and not _requested(record) else ()
            try:
                if record.row is not None and record.row.owner:
                    await self._committer.submit(Commit(cancel=(Cancel(run_id),), publish=told))
                    self._notifier.cancel_requested(run_id)
                    return
                await self._committer.submit(cancel_of(record, now)._replace(publish=told))
            except (LostClaim, RevMismatch):
                continue  # it was claimed, released or moved on since it was read: read it again
            self._ended(record, "cancelled")
            return

    async def time_out(self, rows: Sequence[ScheduleRow]) -> list[State | bool | BaseException]:
        """End the runs of these rows, whose time limits are over: of each its State, True if there is nothing to end, or what the store said.

        False while a worker holds the run, which ends it itself, or moved it on meanwhile.
        """
        ids = [row.id.removeprefix(RUN_END) for row in rows]
        stopped: list[PausedFlowRow] = await self._committer.call(self._store.read, PausedFlowsQuery())
        records: list[Record | None] = await self._committer.call(self._store.load, ids)
        called = await self._in_calls([one.state.id for one in records if one is not None and one.journaled])
        now, paused = self._clock.now(), {one.flow for one in stopped}
        ends = [
            self._time_out(record, _at_its_end(row, record, now, paused, in_call=run_id in called))
            for row, run_id, record in zip(rows, ids, records, strict=True)
        ]
        return await asyncio.gather(*ends, return_exceptions=True)

    async def _time_out(self, record: Record | None, commit: Commit | None) -> State | bool:
        if commit is None:
            return False
        try:
            await self._committer.submit(commit)
        except (LostClaim, RevMismatch):
            return False
        if record is None or not commit.writes:
            return True
        state = commit.writes[0].state
        if state.transition.status:
            error = failure(state.id, state.transition)
            names = {"run_id": state.id, "flow": record.created.flow, "event": "failed"}
            line = error_line(error.type, error.message)
            log.error("run %s of flow %s failed: %s", state.id, record.created.flow, line, extra=names)
        self._ended(record, state.transition.status)
        return state

    async def _in_calls(self, ids: Sequence[str]) -> set[str]:
        """Those of these runs in which a call that is made at most once has begun, and has not ended."""
        if not ids:
            return set()
        found: list[tuple[JournalRow, ...]] = await self._committer.call(self._store.read, JournalQuery(tuple(ids)))
        return {run_id for run_id, rows in zip(ids, found, strict=True) if any(map(is_intent, rows))}

    def _ended(self, record: Record, status: str) -> None:  # noqa: ARG002 - for what counts the ends
        """A run that no worker held has ended; a workflow may still undo what it did, then `status` is empty if its time limit was over."""
        self._notifier.run_changed(record.state.id)
        self._notifier.schedule_at(0)  # the run undoes what it did, or its parent hears of its end

    async def cancel_children(self, parent: str, *, failed: bool) -> None:
        """Cancel the open children of a run but for those that go on when it ends; those of one that `failed` are told so."""
        query = RunQuery(self._clock.now(), labels={PARENT: parent}, limit=PAGE, open=True)
        while True:
            page: list[Record] = await self._committer.call(self._store.read, query)
            states = [record.state for record in page]
            ids = [state.id for state in states if state.labels.get(ON_PARENT_END) != LEAVE]
            await self.cancel_open(ids, parent if failed else "")
            if len(page) < PAGE:
                return
            query = evolve(query, after=query.key_of(page[-1]))

    async def cancel_open(self, ids: Sequence[str], failed: str = "") -> None:
        """Cancel those of these runs that have not ended; `failed` is their parent, if that is why."""
        for first in range(0, len(ids), PAGE):
            await asyncio.gather(*[self._cancel_if_open(run_id, failed) for run_id in ids[first : first + PAGE]])

    async def _cancel_if_open(self, run_id: str, failed: str) -> None:
        try:
            await self.cancel(run_id, failed=failed)
        except (RunEnded, NotFound):
            return  # it ended meanwhile

    async def _load(self, run_id: str) -> Record:
        (record,) = await self._committer.call(self._store.load, [run_id])
        if record is None:
            raise NotFound(f"there is no run {run_id!r} in this namespace")
        return record


def _requested(record: Record) -> bool:
    """Whether a cancel of the open run was requested."""
    return CANCEL in record.state.transition.annotations or (record.row is not None and record.row.cancel)


def _at_its_end(
    row: ScheduleRow, record: Record | None, now: int, paused: Collection[str], *, in_call: bool
) -> Commit | None:
    """What to commit at the row of a run's end; None while a worker holds the run: it ends the run itself.

    A run that is blocked, or paused, or whose flow is one of those `paused`, stays so: the worker that claims it after that sees its end. So
    does one that was interrupted `in_call`, in a call that is made at most once: its outcome comes first.
    """
    gone = Commit(schedule=ScheduleChange(row.id, row.version))
    if record is None:
        return gone
    state, place = record.state, record.row
    run_id, transition, end = state.id, state.transition, end_of(state.labels)
    if (place is not None and place.owner) or row.due is None or row.due > now:
        return None
    gone = gone._replace(unowned=(run_id,))
    if transition.status or end is None or end.at != row.due or CANCEL in transition.annotations or transition.problem:
        return gone
    if place is not None and (place.blocked or (in_call and place.due <= now)):
        return gone
    if (place is not None and place.paused) or in_call or transition.to in paused:
        return gone._replace(queue=(Enqueue(run_id, transition.to, now, SAME_PRIORITY),))
    return timed_out(record, end, now)
