"""claim: selects the due rows of a claim, and the time of the next one, from partitions and limits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from stepflow.drivers.rocksdb.limits import limit_usage
from stepflow.drivers.rocksdb.tables import RocksdbTables
from stepflow.model.limits import admission, admit, due_of

BATCH = 64  # lines at least that are looked at together


def select_claims(
    tables: RocksdbTables, flows: Mapping[str, str], now: int, limit: int, suspects: bool, skip: Collection[str]
) -> list[str]:
    """Keys of the rows to claim, in claim order; the rows and their runs are cached.

    A line is the rows of one flow with the same limits. Lines are looked at in the order in which their first rows may
    come, until no row of another line can come before those that are taken.
    """
    found = tables.partitions.due(flows, now, limit, suspects, skip)
    lines = [] if suspects else tables.partitions.lines_in_order(flows, now)
    texts = set[str]()
    looked = 0
    while True:
        batch = lines[looked : looked + max(limit, BATCH)]
        looked += len(batch)
        texts.update(text for _first, _flow, text in batch)
        usage = limit_usage(tables, texts, now)
        for _first, flow, text in batch:
            if free := admission(text, usage, now).free:
                found += tables.partitions.limited(flow, text, now, min(limit, free), skip)
        found.sort()
        rest = lines[looked:]
        chosen = _admitted(tables, found if not rest else [one for one in found if one < rest[0][0]], now, limit)
        if len(chosen) >= limit or not rest:
            return chosen


def _admitted(tables: RocksdbTables, found: Sequence[tuple[int, int, str]], now: int, limit: int) -> list[str]:
    """The keys of the first rows that their limits admit."""
    tables.prefetch([key for _priority, _due, key in found])
    limits = {key: row.limits for _priority, _due, key in found if (row := tables.row(key)) is not None}
    if not any(limits.values()):
        return [key for _priority, _due, key in found[:limit]]
    usage = limit_usage(tables, limits.values(), now)
    return admit(((one, one[2], limits[one[2]]) for one in found), usage, now, limit)


def next_due(tables: RocksdbTables, flows: Mapping[str, str], now: int) -> int | None:
    """The earliest time when a worker of these flows may claim a row, as known at `now`."""
    dues = [tables.partitions.next_due(flows, now)]
    lines = [line for flow in flows for line in tables.partitions.lines(flow, now).items()]
    if lines:
        seen = limit_usage(tables, [text for text, _head in lines], now)
        dues += [due_of(head, text, seen, now) for text, head in lines]
    return min((due for due in dues if due is not None), default=None)
