"""next_due: finds the next due time with a few index lookups per flow and text of limits, for any number of runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping

from stepflow.drivers.port import windows
from stepflow.drivers.port.pauses import without
from stepflow.drivers.port.queries import DueSummary
from stepflow.drivers.sqlite.claim import LINES, has_special
from stepflow.drivers.sqlite.limits import SqliteLimits
from stepflow.drivers.sqlite.meta import head
from stepflow.drivers.sqlite.schedules import SqliteSchedules
from stepflow.model.limits import due_of

_READY = (
    "(SELECT {what} FROM stepflow_queue INDEXED BY stepflow_queue_{index}"
    " WHERE shard = ?1 AND flow = ?2 AND owner = '' AND partition = {partition}{where})"
)


def _ready(what: str, partition: int, where: str = "") -> str:
    return _READY.format(what=what, index=("later", "next", "suspect")[partition], partition=partition, where=where)


# The earliest row with a text of limits: its first plain row, and the blocked ones on both sides of the own definition ?4.
LINE = ", ".join(
    (
        "SELECT " + _ready("due", 1, " AND limits = ?3 AND blocked_by = '' ORDER BY priority, due LIMIT 1"),
        _ready("min(due)", 1, " AND limits = ?3 AND blocked_by > '' AND blocked_by < ?4"),
        _ready("min(due)", 1, " AND limits = ?3 AND blocked_by > '' AND blocked_by > ?4"),
    )
)
# The earliest of the sleeping and the suspect rows, and how many suspects are due at ?4.
REST = ", ".join(
    (
        "SELECT " + _ready("min(due)", 0),
        _ready("min(due)", 2, " AND blocked_by <> ?3"),
        _ready("count(*)", 2, " AND blocked_by <> ?3 AND due <= ?4"),
    )
)
OWNED = (
    "SELECT owner, flow, count(*) FROM stepflow_queue INDEXED BY stepflow_queue_owned"
    " WHERE shard = ? AND owner <> '' GROUP BY 1, 2"
)


def next_due(
    connection: sqlite3.Connection, shard: str, flows: Mapping[str, str], paused: Collection[str], now: int
) -> DueSummary:
    """The DueSummary for these flows (name -> definition), some of which are paused."""
    owned, flows = _owned(connection, shard, flows), without(flows, paused)
    dues: list[int | None] = []
    suspects = 0
    for flow, definition in flows.items():
        *found, due_suspects = connection.execute(REST, (shard, flow, definition, now)).fetchone()
        suspects += due_suspects
        dues += [*found, *connection.execute(LINE, (shard, flow, "", definition)).fetchone()]
    known = [due for due in dues if isinstance(due, int)]  # a text, of a damaged row, is behind all numbers
    special = {flow: definition for flow, definition in flows.items() if has_special(connection, shard, flow)}
    limited, complete = _limited(connection, shard, special, now, windows.MANY_LINES)
    if not complete and not (limited and min(limited) <= now):
        limited, _complete = _limited(connection, shard, special, now, windows.ALL_LINES)
    first = min(known + limited, default=None)
    scheduled = SqliteSchedules(connection, shard).first()
    return DueSummary(first, suspects, owned, head(connection), schedule=scheduled)


def _limited(
    connection: sqlite3.Connection, shard: str, flows: Mapping[str, str], now: int, most: int
) -> tuple[list[int], bool]:
    """When the first rows of so many lines of each flow may be claimed, as far as that is known; whether these are all lines."""
    lines: list[tuple[int, str]] = []
    complete = True
    for flow, definition in flows.items():
        texts = connection.execute(LINES, (shard, flow, None, most)).fetchall()
        complete = complete and len(texts) < most
        for (text,) in texts:
            heads = connection.execute(LINE, (shard, flow, text, definition)).fetchone()
            lines += [(first, text) for first in heads if isinstance(first, int)]
    if not lines:
        return [], complete
    usage = SqliteLimits(connection, shard, now).limit_usage({text for _first, text in lines})
    dues = [due_of(first, text, usage, now) for first, text in lines]
    return [due for due in dues if due is not None], complete


def _owned(connection: sqlite3.Connection, shard: str, flows: Mapping[str, str]) -> dict[str, int]:
    owned: dict[str, int] = {}
    for owner, flow, number in connection.execute(OWNED, (shard,)):
        if flow in flows:
            owned[owner] = owned.get(owner, 0) + number
    return owned
