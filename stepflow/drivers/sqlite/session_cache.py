"""What a session knows of the file without looking: the newest revision, and where the runs are that it holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from attrs import define, field

from stepflow.drivers.sqlite.bulk import many_rows

PLACES = (
    "SELECT q.id, q.epoch, s.rowid, q.rowid, q.owner FROM stepflow_queue AS q CROSS JOIN stepflow_states AS s"
    " ON s.shard = q.shard AND s.id = q.id WHERE q.shard = ?1 AND q.id IN (VALUES {rows})"
)


@define
class RowIds:
    """Of a run that is held: the epoch that its queue row carries, and the rowids of its State and of that row."""

    epoch: int
    state: int
    row: int


@define
class SessionCache:
    """True as long as the `era` of the Database stays the same and its own session tells it of every change.

    Only whoever is writing may ask it. `rev` is the newest revision, 0 if that is not known. `places` are those of runs that
    this session holds, of some of them.
    """

    rev: int = 0
    places: dict[str, RowIds] = field(factory=dict)
    _era: int = 0

    def keep(self, generation: int) -> None:
        """Forget everything if this is not the era of which it is known."""
        if generation != self._era:
            self._era = generation
            self.forget()

    def forget(self) -> None:
        """Know nothing."""
        self.rev = 0
        self.places.clear()

    def drop(self, ids: Iterable[str]) -> None:
        """Forget where these runs are: this session changed or removed their queue rows."""
        for run_id in ids:
            self.places.pop(run_id, None)


def row_ids_of(connection: sqlite3.Connection, shard: str, ids: Sequence[str]) -> dict[str, tuple[RowIds, str]]:
    """The places of those of these runs that have a queue row, and its owner."""
    rows = many_rows(connection, PLACES, ids, shard)
    return {run_id: (RowIds(epoch, state, row), owner) for run_id, epoch, state, row, owner in rows}
