"""Delays, data and former labels: how they are kept, and read by queries."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from attrs import define

from stepflow.drivers.port.delays import DataQuery, DataWrite, Delay, DelayQuery, StoredData, delay_key
from stepflow.drivers.port.stored import map_text, read_map, read_state
from stepflow.drivers.sqlite.rows import STATE
from stepflow.model.state import encode_map

DELAY = f"{STATE}, s.due, s.binding, s.number, s.fired"
PAST = (
    "INSERT OR IGNORE INTO stepflow_past_labels (shard, name, value, id)"
    " SELECT shard, name, value, id FROM stepflow_labels WHERE shard = ? AND id = ?"
)
PUT = (
    "INSERT INTO stepflow_delays (shard, number, key, run_id, rev, transition, labels, annotations, committed_at, due,"
    " binding, exchange_rev) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,"
    " ifnull((SELECT exchange_rev FROM stepflow_states WHERE shard = ?1 AND id = ?4), 0))"
)


@define
class SqliteDelaysAndData:
    """The data and delays of one shard on one connection."""

    connection: sqlite3.Connection
    shard: str

    def last(self, name: str) -> int:
        """The number that was given last."""
        query = "SELECT last FROM stepflow_counters WHERE shard = ? AND name = ?"
        row = self.connection.execute(query, (self.shard, name)).fetchone()
        return 0 if row is None else int(row[0])

    def _count(self, name: str, last: int) -> None:
        self.connection.execute(
            "INSERT INTO stepflow_counters (shard, name, last) VALUES (?, ?, ?)"
            " ON CONFLICT (shard, name) DO UPDATE SET last = excluded.last",
            (self.shard, name, last),
        )

    def store(self, data: Mapping[int, DataWrite]) -> None:
        """Keep blobs under their revisions."""
        for rev, one in data.items():
            self.connection.execute(
                "INSERT INTO stepflow_data (shard, rev, run_id, annotations, blob) VALUES (?, ?, ?, ?, ?)",
                (self.shard, rev, one.run_id, encode_map(one.annotations), one.blob),
            )
        if data:
            self._count("data", max(data))

    def delay(self, delays: Mapping[int, Delay]) -> None:
        """Keep delays under their offsets. Their rows in the queue are the caller's."""
        for offset, delay in delays.items():
            state = delay.state
            texts = (state.transition.text, map_text(state.labels), map_text(state.annotations))
            row = (state.id, state.rev, *texts, state.committed_at, delay.due, delay.commit)
            self.connection.execute(PUT, (self.shard, offset, delay_key(state.id, offset), *row))
        if delays:
            self._count("delays", max(delays))

    def fire(self, offset: int) -> None:
        """Mark a delay as over."""
        self.connection.execute(
            "UPDATE stepflow_delays SET fired = 1 WHERE shard = ? AND number = ?", (self.shard, offset)
        )

    def read_delays(self, query: DelayQuery) -> list[Delay]:
        """The delays that the query asks for, by due time and offset."""
        where = "shard = ? AND due > ? AND due <= ? AND number > ?"
        values: list[object] = [self.shard, query.since, query.until, query.after]
        if query.run_id is not None:
            where += " AND run_id = ?"
            values.append(query.run_id)
        if query.pending:
            where += " AND fired = 0"
        return [read_delay(row) for row in self._delays(where, *values, max(query.limit, 0))]

    def _delays(self, where: str, *values: object) -> sqlite3.Cursor:
        source = f"(SELECT *, run_id AS id FROM stepflow_delays WHERE {where} ORDER BY due, number LIMIT ?) AS s"  # noqa: S608
        return self.connection.execute(f"SELECT {DELAY} FROM {source} ORDER BY s.due, s.number", values)  # noqa: S608

    def read_data(self, query: DataQuery) -> list[StoredData]:
        """The data of one revision, if it is there."""
        text = "SELECT rev, blob, annotations FROM stepflow_data WHERE shard = ? AND rev = ?"
        rows = self.connection.execute(text, (self.shard, query.rev))
        return [StoredData(rev, blob, read_map(annotations)) for rev, blob, annotations in rows]


def read_delay(row: tuple[Any, ...]) -> Delay:
    """A delay from the columns `DELAY`."""
    due, commit, number, fired = row[6:10]
    return Delay(read_state(*row[:6]), due, bool(commit), number, bool(fired))


def remember(connection: sqlite3.Connection) -> None:
    """Fill the table of former labels from the history: a migration, in Python because SQL's JSON cuts texts off at NUL."""
    rows = connection.execute("SELECT DISTINCT shard, id, labels FROM stepflow_history WHERE labels <> '{}'")
    for shard, run_id, labels in rows.fetchall():
        for name, value in read_map(labels).items():
            connection.execute(
                "INSERT OR IGNORE INTO stepflow_past_labels (shard, name, value, id) VALUES (?, ?, ?, ?)",
                (shard, name, value, run_id),
            )
