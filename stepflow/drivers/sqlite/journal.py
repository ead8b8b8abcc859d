"""The journal rows of runs: written, forgotten, read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import repeat
from operator import itemgetter
from typing import Any

from attrs import define

from stepflow.drivers.port.journal import JournalRow
from stepflow.drivers.sqlite.bulk import many, many_rows
from stepflow.model.state import new_tuple

WIDTH = 7  # values of a row, see `values_of`
WRITTEN = 5  # fields of a JournalRow, of which the store gives the others
PUT = (
    "INSERT INTO stepflow_journal (run_id, key, kind, name, text, failed, epoch, shard)"
    " SELECT column1, column2, column3, column4, column5, column6, column7, ?1 FROM (VALUES {rows})"
    " WHERE true ON CONFLICT (shard, run_id, key) DO UPDATE SET kind = excluded.kind, name = excluded.name,"
    " text = excluded.text, failed = excluded.failed, epoch = excluded.epoch"
)
FAILED, SEQ = 4, 5  # columns of READ
READ = "SELECT key, kind, name, text, failed, seq, epoch FROM stepflow_journal WHERE shard = ? AND run_id = ?"
ANY = "SELECT 1 FROM stepflow_journal WHERE shard = ? LIMIT 1"
JOURNALED = (
    "SELECT column1 FROM (SELECT ?1 AS shard) AS g CROSS JOIN (VALUES {rows})"
    " WHERE EXISTS (SELECT 1 FROM stepflow_journal AS j WHERE j.shard = g.shard AND j.run_id = column1)"
)
# The character after ':' bounds what begins with a name that ends in it: keys are compared by their bytes.
FORGET_BELOW = "DELETE FROM stepflow_journal WHERE shard = ? AND run_id = ? AND key >= ? AND key < ?"
FORGET_ONE = "DELETE FROM stepflow_journal WHERE shard = ? AND run_id = ? AND key = ?"
FORGET_ALL = "DELETE FROM stepflow_journal WHERE shard = ? AND run_id = ?"


def values_of(run_id: str, rows: Iterable[JournalRow], epoch: int) -> list[object]:
    """The values of rows that a claim of this epoch writes, to be bound by `SqliteJournal.put`."""
    values: list[object] = []
    for row in rows:
        values += (run_id, *row[:WRITTEN], epoch)
    return values


def _rows(found: list[tuple[Any, ...]]) -> tuple[JournalRow, ...]:
    """The rows that READ found, by seq. No Python runs for each of them, since a journal may be long and delays the next step."""
    if not found:
        return ()
    found.sort(key=itemgetter(SEQ))
    columns: list[Iterable[Any]] = list(zip(*found, strict=True))
    columns[FAILED] = map(bool, columns[FAILED])
    return tuple(map(new_tuple, repeat(JournalRow), zip(*columns, strict=True)))


@define
class SqliteJournal:
    """The journal of one shard."""

    connection: sqlite3.Connection
    shard: str

    def put(self, values: Sequence[object]) -> None:
        """Write the rows of any number of runs."""
        many(self.connection, PUT, WIDTH, values, self.shard)

    def forget(self, run_id: str, name: str) -> None:
        """Delete the rows that `name` names."""
        if name == "":
            self.connection.execute(FORGET_ALL, (self.shard, run_id))
        elif name[-1] == ":":
            self.connection.execute(FORGET_BELOW, (self.shard, run_id, name, name[:-1] + ";"))
        else:
            self.connection.execute(FORGET_ONE, (self.shard, run_id, name))

    def read(self, ids: Sequence[str]) -> list[tuple[JournalRow, ...]]:
        """The rows of each run."""
        read = self.connection.execute
        return [_rows(read(READ, (self.shard, run_id)).fetchall()) for run_id in ids]

    def journaled(self, ids: Sequence[str]) -> set[str]:
        """Which of the runs have rows; most stores have none at all."""
        if self.connection.execute(ANY, (self.shard,)).fetchone() is None:
            return set()
        return {row[0] for row in many_rows(self.connection, JOURNALED, ids, self.shard)}
