"""One side of the comparison that the state machine makes: a store, and what it shows in comparable form."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from stepflow.drivers.port.commit import Event, Fence, Owner, Record
from stepflow.drivers.port.queries import HistoryQuery
from stepflow.drivers.port.store import Driver, Store
from stepflow.model.family import RESERVED
from stepflow.model.state import State


class Side:
    """One of the two stores: its sessions, and its own numbers for the same things."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.sessions: dict[str, Store] = {}
        self.batches: list[
            list[int]
        ] = []  # the revisions of each batch of commits: their numbers are the driver's choice
        self.fences: dict[str, Fence] = {}
        self.closing: list[Callable[[], None]] = []

    def session(self, owner: str) -> Store:
        """The session of this owner, opened when needed."""
        if owner not in self.sessions:
            self.sessions[owner] = self.driver.connect("", Owner(owner, "host", 1), 0)
        return self.sessions[owner]

    def made(self, revs: Iterable[int]) -> None:
        """Note the revisions of a batch. They are newer than all before; which member of the batch gets which is free."""
        batch = sorted(revs)
        if batch:
            assert len(set(batch)) == len(batch)
            assert not self.batches or self.batches[-1][-1] < batch[0]
            self.batches.append(batch)

    def rank(self, rev: int) -> int:
        """The number of the batch that made a revision, from 1; 0 for none."""
        return next((number for number, batch in enumerate(self.batches, 1) if rev in batch), 0)

    def last_of(self, number: int) -> int:
        """The last revision of the batch of this number, or of the newest one; 0 for none."""
        return self.batches[min(number, len(self.batches)) - 1][-1] if number > 0 and self.batches else 0

    def history(self, query: HistoryQuery) -> list[Any]:
        """What a session reads, in comparable form, without the batch that the limit may have cut."""
        found = self.session("main").read(query)
        ranks = [self.rank(one.state.rev) for one in found]
        assert ranks == sorted(ranks)
        cut = ranks[0 if query.last else -1] if len(found) == query.limit else -1
        seen = [(self.state(one.state), one.exchange) for one, rank in zip(found, ranks, strict=True) if rank != cut]
        return sorted(seen, key=lambda one: (one[0].rev, one[0].id))

    def state(self, state: State) -> State:
        """The State with comparable numbers and plain maps."""
        return state._replace(rev=self.rank(state.rev), labels=dict(state.labels), annotations=dict(state.annotations))

    def record(self, record: Record | None) -> Any:
        """A record in comparable form."""
        if record is None:
            return None
        row = record.row and record.row._replace(epoch=0, claim_rev=self.rank(record.row.claim_rev))
        if row is not None and not row.owner:
            row = row._replace(claim_rev=0)
        seen = [(event.name, self.event_id(event), event.payload, event.published_at) for event in record.events]
        return self.state(record.state), record.created, record.exchange, row, seen, record.journaled

    def event_id(self, event: Event) -> str:
        """The id of an event in comparable form: that of the end of a child is the revision that ended it."""
        return str(self.rank(int(event.id))) if event.name.startswith(RESERVED) else event.id
