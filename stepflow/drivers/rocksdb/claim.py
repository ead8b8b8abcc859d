"""claim: selects the due rows of a claim, and the time of the next one, from partitions and limits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from stepflow.drivers.port.turns import Candidate, Order, admitted, first
from stepflow.drivers.rocksdb.keys import text as code_of
from stepflow.drivers.rocksdb.limits import limit_usage
from stepflow.drivers.rocksdb.tables import RocksdbTables
from stepflow.model.limits import admission, due_of

BATCH = 64  # lines of a flow at least that are looked at together


def select_claims(
    tables: RocksdbTables, flows: Mapping[str, str], now: int, limit: int, suspects: bool, skip: Collection[str]
) -> list[str]:
    """Keys of the rows to claim, in claim order; the rows and their runs are cached.

    A line is the rows of one flow with the same limits. Those of a flow are looked at in the order in which their first rows
    may come, until no row of another line can come before those that are taken.
    """
    partitions = tables.partitions
    found = _special(tables, flows, now, limit, suspects, skip)
    if not suspects:
        found += [(one, flow, "", None) for flow in flows for one in partitions.plain(flow, now, limit, skip)]
    lines = {} if suspects else {flow: some for flow in flows if (some := partitions.lines_in_order(flow, now))}
    if lines or any(text for _order, _flow, text, _none in found):
        chosen = _admitted(tables, found, lines, flows, now, limit, skip)
    else:
        chosen = first(found, flows, limit)
    keys = [one[0][2] for one in chosen]
    tables.prefetch(keys)
    if partitions.unreadable and not partitions.unreadable.isdisjoint(map(code_of, keys)):  # found only now
        return select_claims(tables, flows, now, limit, suspects, skip)
    return keys


def _special(
    tables: RocksdbTables, flows: Mapping[str, str], now: int, limit: int, suspects: bool, skip: Collection[str]
) -> list[Candidate]:
    """The first suspects of each flow, or the first blocked rows: their limits are known only from the rows."""
    rows = [
        (one, flow)
        for flow, definition in flows.items()
        for one in tables.partitions.special(flow, definition, now, limit, suspects, skip)
    ]
    tables.prefetch([order[2] for order, _flow in rows])
    return [(order, flow, row.limits, None) for order, flow in rows if (row := tables.row(order[2])) is not None]


def _admitted(
    tables: RocksdbTables,
    found: list[Candidate],
    lines: Mapping[str, Sequence[tuple[Order, str]]],
    flows: Collection[str],
    now: int,
    limit: int,
    skip: Collection[str],
) -> list[Candidate]:
    """The first that their limits admit, of what was found and of the rows of these lines."""
    texts = {text for _order, _flow, text, _none in found}
    looked, batch = 0, max(limit, BATCH)
    while True:
        some = [(flow, text) for flow, known in lines.items() for _first, text in known[looked : looked + batch]]
        looked += batch
        texts.update(text for _flow, text in some)
        usage = limit_usage(tables, texts, now)
        for flow, text in some:
            if free := admission(text, usage, now).free:
                rows = tables.partitions.limited(flow, text, now, min(limit, free), skip)
                found += [(order, flow, text, None) for order in rows]
        ends = {flow: known[looked][0] for flow, known in lines.items() if len(known) > looked}
        chosen, complete = admitted(found, flows, usage, now, limit, ends)
        if complete:
            return chosen


def next_due(tables: RocksdbTables, flows: Mapping[str, str], now: int) -> int | None:
    """The earliest time when a worker of these flows may claim a row, as known at `now`."""
    best = tables.partitions.next_due(flows, now)
    lines = [(flow, *line) for flow in flows for line in tables.partitions.lines(flow, now).items()]
    if lines:
        seen = limit_usage(tables, [text for _flow, text, _head in lines], now)
        dues = [(due, flow, text) for flow, text, head in lines if (due := due_of(head, text, seen, now)) is not None]
        for due, flow, text in sorted(dues):
            if best is not None and due >= best:
                break
            if not tables.partitions.is_empty(flow, text):
                return due
    return best
