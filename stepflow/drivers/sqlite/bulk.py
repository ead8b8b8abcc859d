"""Many rows in a constant number of statements: of creations, releases and (in `commit_fast.py`) steps.

A *creation* is one new run and its queue row. All go through multi-row statements of 1, 2, 4, … 256 rows, so that few texts
serve all batch sizes, and the interpreter lock is free while SQLite works. A caller that finds fewer rows
changed than it asked for rolls back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from stepflow.drivers.port.commit import Commit, Enqueue, Release
from stepflow.drivers.port.rules import NO_EXCHANGE
from stepflow.drivers.port.stored import map_text
from stepflow.drivers.sqlite.rows import derived_of, partition
from stepflow.model.lifecycle import SUSPECT
from stepflow.model.limits import after_start
from stepflow.model.safe_text import storable

MOST = 256  # rows of one statement

HISTORY = (
    "INSERT INTO stepflow_history (rev, shard, id, prev, transition, labels, annotations, committed_at, exchange)"
    " SELECT column1, ?1, column2, column3, column4, column5, column6, ?2, column7 FROM (VALUES {rows})"
)
CREATION = (
    "INSERT INTO stepflow_states (id, rev, flow, input_hash, created_at, transition, labels, annotations, status,"
    " event, polls, exchange_rev, priority, limits, shard, committed_at)"
    " SELECT column1, column2, column3, column4, column5, column6, column7, column8, column9, column10, column11,"
    " column2, column12, column13, ?1, ?2 FROM (VALUES {rows})"
)
QUEUE = (
    "INSERT INTO stepflow_queue (id, flow, due, priority, partition, epoch, limits, shard)"
    " SELECT column1, column2, column3, column4, column5, column6, column7, ?1 FROM (VALUES {rows})"
)
# The labels of runs that are there.
LABEL = (
    "INSERT INTO stepflow_labels (name, value, id, shard, created_at) SELECT column1, column2, column3, ?1,"
    " (SELECT s.created_at FROM stepflow_states AS s WHERE s.shard = ?1 AND s.id = column3) FROM (VALUES {rows})"
)
CREATION_LABEL = (
    "INSERT INTO stepflow_labels (name, value, id, created_at, shard) SELECT column1, column2, column3, column4, ?1"
    " FROM (VALUES {rows})"
)
RELEASE = (
    "INSERT INTO stepflow_queue (shard, id, flow, due, epoch, crashes, blocked, blocked_by, unfinished, partition)"
    " SELECT ?1, q.id, q.flow, column3, column4, ifnull(column5, q.crashes), column6, column7, ifnull(column8, q.unfinished),"
    " CASE WHEN ifnull(column5, q.crashes) >= ?3 THEN 2 WHEN column7 <> '' OR column3 <= ?2 THEN 1 ELSE 0 END"
    " FROM (VALUES {rows}) AS b CROSS JOIN stepflow_queue AS q"
    " ON q.shard = ?1 AND q.id = column1 AND q.epoch = column2 AND q.cancel = 0 AND q.paused = 0"
    " WHERE true ON CONFLICT (shard, id) DO UPDATE SET due = excluded.due, epoch = excluded.epoch, owner = '',"
    " crashes = excluded.crashes, blocked = excluded.blocked, blocked_by = excluded.blocked_by, partition = excluded.partition,"
    " unfinished = excluded.unfinished"
)


@lru_cache(maxsize=128)
def _text(template: str, width: int, rows: int) -> str:
    return template.format(rows=", ".join([f"({', '.join('?' * width)})"] * rows))


def many(connection: sqlite3.Connection, template: str, width: int, values: Sequence[object], *head: object) -> int:
    """Run a statement over rows of `width` values each after the values `head`; how many rows it changed itself."""
    if len(values) == width:
        return connection.execute(_text(template, width, 1), (*head, *values)).rowcount
    done, changed, left = 0, 0, len(values) // width
    while left:
        rows = min(MOST, 1 << (left.bit_length() - 1))
        part = values if rows * width == len(values) else values[done : done + rows * width]
        changed += connection.execute(_text(template, width, rows), (*head, *part)).rowcount
        done += rows * width
        left -= rows
    return changed


def releases(
    connection: sqlite3.Connection, shard: str, batch: Sequence[Release], now: int, epochs: Callable[[int], int]
) -> bool:
    """Give claims back; False when one is lost, or not of the plain kind: roll back."""
    if any(release.due is None or release.events for release in batch):
        return False
    if len({release.fence.id for release in batch}) < len(batch):
        return False
    rows: list[object] = []
    epoch = epochs(len(batch))
    for number, release in enumerate(batch):
        fence = release.fence
        rows += (fence.id, fence.epoch, release.due, epoch + number)
        rows += (release.crashes, storable(release.blocked), release.blocked_by, release.unfinished)
    return many(connection, RELEASE, 8, rows, shard, now, SUSPECT) == len(batch)


def creations(
    connection: sqlite3.Connection, shard: str, batch: Sequence[Commit], now: int, rev: int, epoch: int
) -> None:
    """Write new runs with the revisions after `rev` and the epochs after `epoch`; IntegrityError when an id exists."""
    rows: list[object] = []
    history: list[object] = []
    queue: list[object] = []
    names: list[object] = []
    for commit in batch:
        rev += 1
        epoch += 1
        write = commit.writes[0]
        state, created, transition = write.state, write.created, write.state.transition
        assert created is not None
        text, labels, annotations = transition.text, map_text(state.labels), map_text(state.annotations)
        priority, limits = 0, ""
        for part in commit.queue:
            assert isinstance(part, Enqueue)
            priority, limits = part.priority, part.limits and after_start(part.limits)
            queue += (part.id, part.flow, part.due, priority, partition(part.due, now), epoch, part.limits)
        for name, value in state.labels.items():
            names += (name, value, state.id, created.created_at)
        rows += (state.id, rev, created.flow, created.input_hash, created.created_at, text, labels, annotations)
        rows += (*derived_of(transition), priority, limits)
        history += (
            rev,
            state.id,
            0,
            text,
            labels,
            annotations,
            NO_EXCHANGE if write.exchange is None else write.exchange,
        )
    many(connection, CREATION, 13, rows, shard, now)
    many(connection, HISTORY, 7, history, shard, now)
    many(connection, QUEUE, 7, queue, shard)
    many(connection, CREATION_LABEL, 4, names, shard)


def many_rows(
    connection: sqlite3.Connection, template: str, values: Sequence[object], *head: object, width: int = 1
) -> list[tuple[Any, ...]]:
    """The rows of a query over rows of `width` values each, in its order within each group of up to 256 of them."""
    found: list[tuple[Any, ...]] = []
    done, left = 0, len(values) // width
    while left:
        rows = min(MOST, 1 << (left.bit_length() - 1))
        part = values[done : done + rows * width]
        found += connection.execute(_text(template, width, rows), (*head, *part)).fetchall()
        done += rows * width
        left -= rows
    return found
