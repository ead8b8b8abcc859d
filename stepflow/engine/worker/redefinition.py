"""Redefinition: finds the waiting runs that wait otherwise than a definition registered here says, and claims them.

A run that waits for an event has no queue row, so no worker would look at it when its flow has a new definition. A worker
therefore looks once through the waiting runs of each flow that is registered. It claims those whose wait is another one now
itself, so that no worker of an older definition can take them in between.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any

from attrs import evolve

from stepflow.drivers.port.background import Guard
from stepflow.drivers.port.commit import SAME_PRIORITY, Claim, Commit, Enqueue, Fence, Record, Write
from stepflow.drivers.port.queries import RunQuery
from stepflow.engine.clock import Clock
from stepflow.engine.commit.committer import Committer
from stepflow.engine.membership.notifier import Notifier
from stepflow.engine.store_reader import StoreReader
from stepflow.errors import LostClaim, NotFound, RevMismatch
from stepflow.model.flow import Flow
from stepflow.model.lifecycle import SUSPECT, QueueRow

DEFER_S = 1.0
PAGE = 500  # runs per query, and the most that are found before they are claimed


class Redefinition:
    """The waiting runs of `flows` that a worker has to look at."""

    def __init__(
        self,
        reader: StoreReader,
        committer: Committer,
        notifier: Notifier,
        clock: Clock,
        flows: Mapping[str, Flow[Any, Any]],
    ) -> None:
        self._reader, self._committer, self._notifier = reader, committer, notifier
        self._clock, self._flows = clock, flows
        self._seen: set[str] = set()  # flows whose waiting runs were looked through
        self._found: deque[str] = deque()
        self._first: float | None = None  # monotonic time since which the search waits
        self._pages = self._search()
        self._task: asyncio.Task[None] | None = None
        self.guard = Guard("waits")

    @property
    def left(self) -> bool:
        """Whether there may be runs to claim."""
        return bool(self._found) or len(self._seen) < len(self._flows)

    def waits(self, busy: bool) -> bool:
        """Whether runs that are due go first, as long as a worker is `busy` with them: for DEFER_S at most."""
        now = self._clock.monotonic()
        if self._first is None or not busy:
            self._first = now
        return busy and now - self._first < DEFER_S and not self._clock.virtual

    async def advance(self, wait: bool) -> None:
        """Search on until runs are found or none is left: in the background, or with `wait` before this returns."""
        if wait:
            while not self._found and await self._turn():
                pass
        elif (self._task is None or self._task.done()) and not self._found:
            self._task = asyncio.create_task(self.guard.run_task(self._turn, asyncio.sleep))

    @property
    def searching(self) -> bool:
        """Whether a search goes on."""
        return self._task is not None and not self._task.done()

    def stop(self) -> None:
        """End the search; a later one begins at the flow that it had come to."""
        if self._task is not None:
            self._task.cancel()

    async def _turn(self) -> bool:
        """Look at one page; whether to go on."""
        page = await self._page() if len(self._seen) < len(self._flows) else None
        if page:
            self._found += page
            self._notifier.schedule_at(0)
        return self.left and not self._found

    async def _page(self) -> list[str] | None:
        """The runs of the next page; None at the end. A search that failed or ended begins anew, at the flow that it had come to."""
        page = None
        try:
            page = await anext(self._pages, None)
        finally:
            if page is None:
                self._pages = self._search()
        return page

    async def _search(self) -> AsyncIterator[list[str]]:
        for name, flow in list(self._flows.items()):
            query = RunQuery(self._clock.now(), name, limit=PAGE, awaits=True)
            while name not in self._seen:
                page: list[Record] = []
                if flow.waits:
                    page = await self._reader.read(query)
                yield [record.state.id for record in page if self._differs(record)]
                if len(page) < PAGE:
                    self._seen.add(name)
                else:
                    query = evolve(query, after=query.key_of(page[-1]))

    def _differs(self, record: Record) -> bool:
        transition = record.state.transition
        flow = self._flows.get(transition.to)
        return flow is not None and not transition.problem and not flow.waits_at(transition)

    async def next_claim(self) -> Claim | None:
        """Claim one of the runs that were found; None when there is none, or when it moved on meanwhile."""
        if not self._found:
            return None
        (record,) = await self._reader.load([self._found.popleft()])
        row = None if record is None else record.row
        if record is None or record.state.transition.status or not self._differs(record):
            return None
        if row is not None and (row.owner or row.blocked or row.paused or row.crashes >= SUSPECT):
            return None  # it is looked at anyway, or for another reason not now
        state, now = record.state, self._clock.now()
        take = Enqueue(state.id, state.transition.to, now, SAME_PRIORITY, owned=True)
        try:
            done = await self._committer.submit(Commit(unowned=(state.id,), writes=(Write(state),), queue=(take,)))
        except (RevMismatch, LostClaim, NotFound):  # RunPaused is a LostClaim
            return None
        (rev,), (epoch,) = done.revs, done.epochs
        held = QueueRow(take.flow, now, epoch=epoch, claim_rev=rev, priority=0 if row is None else row.priority)
        claimed = record._replace(state=state._replace(rev=rev, committed_at=done.committed_at), row=held)
        return Claim(Fence(state.id, epoch), held, claimed)
