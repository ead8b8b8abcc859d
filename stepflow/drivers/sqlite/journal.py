"""The journal rows of runs: written, forgotten, read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import repeat
from operator import itemgetter
from typing import Any

from attrs import define

from stepflow.drivers.port.journal import JournalQuery, JournalRow
from stepflow.drivers.sqlite.bulk import many, many_rows
from stepflow.model.state import new_tuple

WIDTH = 8  # values of a row, see `values_of`
WRITTEN = 5  # fields of a JournalRow, of which the store gives the others
PUT = (
    "INSERT INTO stepflow_journal (run_id, key, kind, name, text, failed, epoch, written_at, shard)"
    " SELECT column1, column2, column3, column4, column5, column6, column7, column8, ?1 FROM (VALUES {rows})"
    " WHERE true ON CONFLICT (shard, run_id, key) DO UPDATE SET kind = excluded.kind, name = excluded.name,"
    " text = excluded.text, failed = excluded.failed, epoch = excluded.epoch,"
    " written_at = excluded.written_at"
)
FAILED, SEQ = 4, 5  # columns of READ
LAST_SEQ = (1 << 63) - 1
COLUMNS = "SELECT key, kind, name, text, failed, seq, epoch, written_at FROM stepflow_journal"
READ = f"{COLUMNS} WHERE shard = ? AND run_id = ?"
READ_KEY = f"{READ} AND key = ? AND +seq > ? AND +seq < ?"
# The index by key covers the inner query: of a long journal only the rows that are asked for are read. Without `+` the way would be by seq.
READ_PART = (
    COLUMNS + " WHERE seq IN (SELECT seq FROM stepflow_journal"  # noqa: S608 - a constant
    " WHERE shard = ? AND run_id = ? AND +seq > ? AND +seq < ? ORDER BY +seq {order} LIMIT ?)"
)
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
    """The values of rows that have their time and that a claim of this epoch writes, to be bound by `SqliteJournal.put`."""
    values: list[object] = []
    for row in rows:
        values += (run_id, *row[:WRITTEN], epoch, row.at)
    return values


def _rows(found: list[tuple[Any, ...]]) -> tuple[JournalRow, ...]:
    """The rows that READ found, by seq. No Python runs for each of them, since a journal may be long and delays the next step."""
    if not found:
        return ()
    found.sort(key=itemgetter(SEQ))
    columns: list[Iterable[Any]] = list(zip(*found, strict=True))
    columns[FAILED] = map(bool, columns[FAILED])
    return tuple(map(new_tuple, repeat(JournalRow), zip(*columns, strict=True)))


def _part(query: JournalQuery) -> tuple[str, list[object]]:
    """The statement for a part of a journal, and what it gets beside the run."""
    between = [query.after, LAST_SEQ if query.before is None else query.before]
    limit = -1 if query.limit is None else query.limit
    if query.key is not None:
        return READ_KEY, [query.key, *between]
    return READ_PART.format(order="DESC" if query.last else "ASC"), [*between, limit]


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

    def read(self, query: JournalQuery) -> list[tuple[JournalRow, ...]]:
        """The rows of each run that the query asks for."""
        statement, more = READ, list[object]()
        if not query.whole:
            statement, more = _part(query)
        read = self.connection.execute
        return [_rows(read(statement, (self.shard, run_id, *more)).fetchall()) for run_id in query.ids]

    def journaled(self, ids: Sequence[str]) -> set[str]:
        """Which of the runs have rows; most stores have none at all."""
        if self.connection.execute(ANY, (self.shard,)).fetchone() is None:
            return set()
        return {row[0] for row in many_rows(self.connection, JOURNALED, ids, self.shard)}
