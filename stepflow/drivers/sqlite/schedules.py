"""The schedules of a shard: written, read, and the first one that is due."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from attrs import define

from stepflow.drivers.port.schedules import ScheduleQuery, ScheduleRow

COLUMNS = "SELECT id, version, due, body FROM stepflow_schedules"
ONE = f"{COLUMNS} WHERE shard = ? AND id = ?"
PAGE = f"{COLUMNS} WHERE shard = ? AND id > ? ORDER BY id LIMIT ?"
DUE = f"{COLUMNS} INDEXED BY stepflow_schedules_due WHERE shard = ? AND due IS NOT NULL AND due <= ? ORDER BY due, id LIMIT ?"
FIRST = "SELECT min(due) FROM stepflow_schedules INDEXED BY stepflow_schedules_due WHERE shard = ? AND due IS NOT NULL"
PUT = (
    "INSERT INTO stepflow_schedules (shard, id, version, due, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT (shard, id)"
    " DO UPDATE SET version = excluded.version, due = excluded.due, body = excluded.body"
)
DELETE = "DELETE FROM stepflow_schedules WHERE shard = ? AND id = ?"


@define
class SqliteSchedules:
    """The schedules of one shard."""

    connection: sqlite3.Connection
    shard: str

    def get(self, schedule_id: str) -> ScheduleRow | None:
        """The schedule of this id."""
        row = self.connection.execute(ONE, (self.shard, schedule_id)).fetchone()
        return None if row is None else ScheduleRow(*row)

    def write(self, changed: Mapping[str, ScheduleRow | None]) -> None:
        """Replace schedules, or delete them (None)."""
        for schedule_id, row in changed.items():
            if row is None:
                self.connection.execute(DELETE, (self.shard, schedule_id))
            else:
                self.connection.execute(PUT, (self.shard, *row))

    def read(self, query: ScheduleQuery) -> list[ScheduleRow]:
        """The rows that the query asks for."""
        if query.id is not None:
            row = self.get(query.id)
            return [] if row is None else [row]
        if query.until is not None:
            rows = self.connection.execute(DUE, (self.shard, query.until, query.limit))
        else:
            rows = self.connection.execute(PAGE, (self.shard, query.after, query.limit))
        return [ScheduleRow(*row) for row in rows]

    def first(self) -> int | None:
        """When the first of them is due."""
        found = self.connection.execute(FIRST, (self.shard,)).fetchone()[0]
        return found if isinstance(found, int) else None  # a text, of a damaged row, is behind all numbers
