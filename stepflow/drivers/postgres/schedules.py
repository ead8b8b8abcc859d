"""The schedules of a namespace, all in its first shard: locked, written, read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stepflow.drivers.port.commit import Commit
from stepflow.drivers.port.rules import schedules_of
from stepflow.drivers.port.schedules import ScheduleQuery, ScheduleRow
from stepflow.drivers.postgres.arrays import numbers, restored, stored, texts
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.limits import GUARD
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.schema import lock_key
from stepflow.drivers.postgres.transactions import Statement, TransactionRunner, fetch_all

COLUMNS = "select id, version, due, body from stepflow.schedules where shard = $1"
SOME = f"{COLUMNS} and id = any($2::text[])"
ONE = f"{COLUMNS} and id = $2"
PAGE = f"{COLUMNS} and id > $2 order by id limit $3"
DUE = f"{COLUMNS} and due is not null and due <= $2 order by due, id limit $3"
FIRST = "select due from stepflow.schedules where shard = $1 and due is not null order by due limit 1"
PUT = """
insert into stepflow.schedules (shard, id, version, due, body)
select $1, u.* from unnest($2::text[], $3::bigint[], $4::bigint[], $5::text[]) as u (id, version, due, body)
on conflict (shard, id) do update set version = excluded.version, due = excluded.due, body = excluded.body
"""
DELETE = "delete from stepflow.schedules where shard = $1 and id = any($2::text[])"


def lock_schedules(
    runner: TransactionRunner, connection: Connection, shards: Shards, commits: Sequence[Commit]
) -> dict[str, ScheduleRow | None]:
    """The schedules that these commits change; no other transaction changes them meanwhile."""
    ids = sorted({schedule_id for commit in commits for schedule_id in schedules_of(commit)})
    if not ids:
        return {}
    first = shards.all[0]
    guards = sorted(lock_key(runner.place.schema, f"schedule/{first}/{one}") for one in ids)
    *_locked, rows = fetch_all(
        connection, *[(GUARD, (guard,)) for guard in guards], (runner.sql(SOME), (first, texts(ids)))
    )
    return dict.fromkeys(ids) | {row.id: row for row in map(read_schedule_row, rows)}


def schedule_statements(shards: Shards, changed: Mapping[str, ScheduleRow | None]) -> list[Statement]:
    """Replace schedules, or delete them (None)."""
    rows = [row for row in changed.values() if row is not None]
    gone = [schedule_id for schedule_id, row in changed.items() if row is None]
    found: list[Statement] = []
    if rows:
        columns = numbers([row.version for row in rows]), numbers([row.due for row in rows])
        values = (texts([row.id for row in rows]), *columns, texts([row.body for row in rows]))
        found.append((PUT, (shards.all[0], *values)))
    if gone:
        found.append((DELETE, (shards.all[0], texts(gone))))
    return found


def read_schedules(
    runner: TransactionRunner, connection: Connection, shards: Shards, query: ScheduleQuery
) -> list[ScheduleRow]:
    """The rows that the query asks for."""
    statement: Statement
    if query.id is not None:
        statement = ONE, (shards.all[0], stored(query.id))
    elif query.until is not None:
        statement = DUE, (shards.all[0], query.until, query.limit)
    else:
        statement = PAGE, (shards.all[0], stored(query.after), query.limit)
    (rows,) = fetch_all(connection, (runner.sql(statement[0]), statement[1]))
    return [read_schedule_row(row) for row in rows]


def read_schedule_row(row: Sequence[object]) -> ScheduleRow:
    """A row of these columns."""
    schedule_id, version, due, body = row
    assert isinstance(version, int)
    assert due is None or isinstance(due, int)
    return ScheduleRow(restored(str(schedule_id)), version, due, restored(str(body)))
