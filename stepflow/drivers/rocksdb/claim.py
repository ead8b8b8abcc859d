"""claim: selects the due rows of a claim, and the time of the next one, from partitions and limits."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from stepflow.drivers.rocksdb.limits import limit_usage
from stepflow.drivers.rocksdb.tables import RocksdbTables
from stepflow.model.limits import admission, admit, due_of


def select_claims(
    tables: RocksdbTables, flows: Mapping[str, str], now: int, limit: int, suspects: bool, skip: Collection[str]
) -> list[str]:
    """Keys of the rows to claim, in claim order; the rows and their runs are cached."""
    partitions = tables.partitions
    found = partitions.due(flows, now, limit, suspects, skip)
    lines = [] if suspects else [(flow, text) for flow in flows for text in partitions.lines(flow, now)]
    if lines:
        seen = limit_usage(tables, [text for _flow, text in lines], now)
        for flow, text in lines:
            if free := admission(text, seen, now).free:
                found += partitions.limited(flow, text, now, min(limit, free), skip)
    found.sort()
    tables.prefetch([key for _priority, _due, key in found])
    limits = {key: row.limits for _priority, _due, key in found if (row := tables.row(key)) is not None}
    if not any(limits.values()):
        return [key for _priority, _due, key in found[:limit]]
    return admit(
        ((one, one[2], limits[one[2]]) for one in found), limit_usage(tables, limits.values(), now), now, limit
    )


def next_due(tables: RocksdbTables, flows: Mapping[str, str], now: int) -> int | None:
    """The earliest time when a worker of these flows may claim a row, as known at `now`."""
    dues = [tables.partitions.next_due(flows, now)]
    lines = [line for flow in flows for line in tables.partitions.lines(flow, now).items()]
    if lines:
        seen = limit_usage(tables, [text for text, _head in lines], now)
        dues += [due_of(head, text, seen, now) for text, head in lines]
    return min((due for due in dues if due is not None), default=None)
