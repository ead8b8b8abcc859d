"""SessionCache: the newest revision, and the rowids of held runs, so that a commit need not read them."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence

from attrs import define, field

from stepflow.drivers.sqlite.bulk import many_rows

PLACES = (
    "SELECT q.id, q.epoch, s.rowid, q.rowid, q.owner FROM stepflow_queue AS q CROSS JOIN stepflow_states AS s"
    " ON s.shard = q.shard AND s.id = q.id WHERE q.shard = ?1 AND q.id IN (VALUES {rows}) AND q.paused = 0"
)

# How many of these runs are held as before: by the epoch that they were given then.
STILL = (
    "SELECT total(q.shard = ?1) FROM (VALUES {rows}) CROSS JOIN stepflow_queue AS q ON q.rowid = column2 AND q.epoch = column3"
    " AND q.id = column1 AND q.paused = 0"
    " CROSS JOIN stepflow_states AS s ON s.rowid = column4 AND s.id = column1 AND s.shard = q.shard"
)
MOST_DOUBTED = 10_000  # runs: others may have taken them, so that this session never commits to them again


@define
class RowIds:
    """The epoch of a held run's queue row, and the rowids of its State and of that row."""

    epoch: int
    state: int
    row: int


@define
class SessionCache:
    """Valid while the generation of the Database is the same; the session reports every change of its own.

    Only the thread that writes may use it. `rev` is the newest revision, 0 if unknown. `places` has the rowids of some of the
    runs that this session holds, `doubted` those of an earlier generation: `trust` finds out in one look whether they are right.
    `shown` tells that this session's owner row is there, `paused_flows` are those, None if unknown.
    """

    rev: int = 0
    shown: bool = False
    places: dict[str, RowIds] = field(factory=dict)
    doubted: dict[str, RowIds] = field(factory=dict)
    paused_flows: Collection[str] | None = None
    _era: int = 0

    def keep(self, generation: int) -> None:
        """Clear the cache if the generation has changed."""
        if generation != self._era:
            self._era = generation
            doubted = self.doubted | self.places
            self.forget()
            if len(doubted) <= MOST_DOUBTED:
                self.doubted = doubted

    def forget(self) -> None:
        """Clear the cache."""
        self.rev, self.shown, self.paused_flows = 0, False, None
        self.places.clear()
        self.doubted = {}

    def trust(self, connection: sqlite3.Connection, shard: str, ids: Iterable[str]) -> None:
        """Make those of these runs known again that are doubted, if none of them has changed."""
        asked = {run_id: place for run_id in ids if (place := self.doubted.pop(run_id, None)) is not None}
        rows: list[object] = []
        for run_id, place in asked.items():
            rows += (run_id, place.row, place.epoch, place.state)
        if sum(number for (number,) in many_rows(connection, STILL, rows, shard, width=4)) == len(asked):
            self.places.update(asked)

    def drop(self, ids: Iterable[str]) -> None:
        """Drop the rowids of these runs: this session changed or removed their queue rows."""
        for run_id in ids:
            self.places.pop(run_id, None)
            self.doubted.pop(run_id, None)


def row_ids_of(connection: sqlite3.Connection, shard: str, ids: Sequence[str]) -> dict[str, tuple[RowIds, str]]:
    """The rowids of those runs that have a queue row, and its owner; of one that is to be paused the rules decide."""
    rows = many_rows(connection, PLACES, ids, shard)
    return {run_id: (RowIds(epoch, state, row), owner) for run_id, epoch, state, row, owner in rows}
