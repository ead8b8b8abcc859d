"""One side of the comparison that the state machine makes: a store, and what it shows in comparable form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stepflow.drivers.port.commit import Fence, Owner, Record
from stepflow.drivers.port.store import Driver, Store
from stepflow.model.state import State


class Side:
    """One of the two stores: its sessions, and its own numbers for the same things."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.sessions: dict[str, Store] = {}
        self.revs: list[
            int
        ] = []  # in the order in which they were made: the numbers themselves are the driver's choice
        self.fences: dict[str, Fence] = {}
        self.closing: list[Callable[[], None]] = []

    def session(self, owner: str) -> Store:
        """The session of this owner, opened when needed."""
        if owner not in self.sessions:
            self.sessions[owner] = self.driver.connect("", Owner(owner, "host", 1), 0)
        return self.sessions[owner]

    def rank(self, rev: int) -> int:
        """The position of a revision among all that were made; 0 for none."""
        return self.revs.index(rev) + 1 if rev in self.revs else 0

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
        seen = [(event.name, event.id, event.payload, event.published_at) for event in record.events]
        return self.state(record.state), record.created, record.exchange, row, seen, record.journaled
