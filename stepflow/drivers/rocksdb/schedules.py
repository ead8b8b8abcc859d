"""The schedules of a namespace as records, and an index of when each is due."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from stepflow.drivers.port.rules import Changes
from stepflow.drivers.port.schedules import ScheduleQuery, ScheduleRow
from stepflow.drivers.rocksdb.keys import NUMBER, Keys, after, number, read_number, read_text, text
from stepflow.drivers.rocksdb.overlay import Below, Overlay
from stepflow.drivers.rocksdb.records import dump, parse
from stepflow.drivers.rocksdb.tables import RocksdbTables


def get(below: Below, keys: Keys, schedule_id: str) -> ScheduleRow | None:
    """The schedule of this id."""
    record = below.value(keys.schedules + text(schedule_id))
    return None if record is None else ScheduleRow(schedule_id, *parse(record))


def due_key(keys: Keys, row: ScheduleRow) -> bytes | None:
    """The index key of a schedule; None for one at which no worker shall look."""
    return None if row.due is None else keys.ticks + number(row.due) + text(row.id)


def write(overlay: Overlay, keys: Keys, changes: Changes) -> None:
    """Replace schedules, or delete them (None)."""
    for schedule_id, row in changes.scheduled.items():
        old = get(overlay, keys, schedule_id)
        if old is not None and (key := due_key(keys, old)) is not None:
            overlay.puts[key] = None
        if row is not None and (key := due_key(keys, row)) is not None:
            overlay.puts[key] = b""
            overlay.ticks(key)
        overlay.puts[keys.schedules + text(schedule_id)] = None if row is None else dump(*row[1:])


def read(tables: RocksdbTables, query: ScheduleQuery) -> list[ScheduleRow]:
    """The rows that the query asks for."""
    if query.id is not None:
        row = get(tables, tables.keys, query.id)
        return [] if row is None else [row]
    return list(islice(_rows(tables, query), query.limit))


def _rows(tables: RocksdbTables, query: ScheduleQuery) -> Iterator[ScheduleRow]:
    keys, disk = tables.keys, tables.disk
    if query.until is not None:
        for key, _none in disk.scan(tables.ticks_from, keys.ticks + number(query.until + 1)):
            row = get(tables, keys, read_text(key, len(keys.ticks) + NUMBER)[0])
            if row is not None:
                yield row
        return
    for key, record in disk.scan(after(keys.schedules + text(query.after)), after(keys.schedules)):
        yield ScheduleRow(read_text(key, len(keys.schedules))[0], *parse(record))


def first(tables: RocksdbTables) -> int | None:
    """When the first schedule is due; the next look begins there, behind the deleted rows that this one passed."""
    stop = after(tables.keys.ticks)
    found = next(tables.disk.scan(tables.ticks_from, stop), None)
    tables.ticks_from = stop if found is None else found[0]
    return None if found is None else read_number(found[0], len(tables.keys.ticks))
