"""Canceller: ends a run as cancelled, at once or by its holder, and the open children of a run that ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve

from stepflow.drivers.port.commit import Cancel, Commit, Event, Record
from stepflow.drivers.port.inbox import cancel_of
from stepflow.drivers.port.queries import RunQuery
from stepflow.drivers.port.store import Store
from stepflow.engine.clock import Clock
from stepflow.engine.commit.committer import Committer
from stepflow.engine.membership.notifier import Notifier
from stepflow.errors import LostClaim, NotFound, RevMismatch, RunEnded
from stepflow.model.family import LEAVE, ON_PARENT_END, PARENT, PARENT_FAILED
from stepflow.model.state import CANCEL

PAGE = 100  # children that are cancelled together


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
            self._ended(record)
            return

    def _ended(self, record: Record) -> None:
        """A run that no worker held has been cancelled; a workflow may still undo what it did."""
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
