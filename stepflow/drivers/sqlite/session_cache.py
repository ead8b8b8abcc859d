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
    runs that this session holds. `shown` tells that this session's owner row is there, `paused_flows` are those, None if unknown.
    """

    rev: int = 0
    shown: bool = False
    places: dict[str, RowIds] = field(factory=dict)
    paused_flows: Collection[str] | None = None
    _era: int = 0

    def keep(self, generation: int) -> None:
        """Clear the cache if the generation has changed."""
        if generation != self._era:
            self._era = generation
            self.forget()

    def forget(self) -> None:
        """Clear the cache."""
        self.rev, self.shown, self.paused_flows = 0, False, None
        self.places.clear()

    def drop(self, ids: Iterable[str]) -> None:
        """Drop the rowids of these runs: this session changed or removed their queue rows."""
        for run_id in ids:
            self.places.pop(run_id, None)


def row_ids_of(connection: sqlite3.Connection, shard: str, ids: Sequence[str]) -> dict[str, tuple[RowIds, str]]:
    """The rowids of those runs that have a queue row, and its owner; of one that is to be paused the rules decide."""
    rows = many_rows(connection, PLACES, ids, shard)
    return {run_id: (RowIds(epoch, state, row), owner) for run_id, epoch, state, row, owner in rows}
