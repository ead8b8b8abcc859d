"""Between table rows and the port's values."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from stepflow.drivers.port.commit import Event
from stepflow.model.lifecycle import SUSPECT, QueueRow
from stepflow.model.state import Transition

STATE = "s.id, s.rev, s.transition, s.labels, s.annotations, s.committed_at"
QUEUE = (
    "q.flow, q.due, q.owner, q.epoch, q.claim_rev, q.priority, q.crashes, q.cancel, q.blocked, q.blocked_by, q.limits,"
    " q.unfinished, q.paused"
)
EVENT = "run_id, name, id, payload, published_at, seq, ifnull(traceparent, '')"

HEAD = (
    "SELECT max(ifnull((SELECT max(rev) FROM stepflow_history), 0),"
    " (SELECT value FROM stepflow_meta WHERE name = 'rev_floor'))"
)


def derived_of(transition: Transition) -> tuple[str, str, bool]:
    """The columns status, event and polls of a transition; `event` is empty if the run waits for none."""
    return transition.status, "\n".join(transition.events), transition.polls


def read_queue(row: Sequence[Any]) -> QueueRow | None:
    """A queue row from the columns `QUEUE`; None where a left join found none."""
    flow, due, owner, epoch, claim_rev, priority, crashes, cancel, blocked, by, limits, unfinished, paused = row
    if flow is None:
        return None
    rest = blocked, by, limits, unfinished, bool(paused)
    return QueueRow(flow, due, owner, epoch, claim_rev, priority, crashes, bool(cancel), *rest)


def read_event(row: tuple[Any, ...]) -> Event:
    """An event from the columns `EVENT`."""
    return Event(*row)


def partition(due: int, now: int, crashes: int = 0, blocked_by: str = "", paused: bool = False) -> int:
    """Which part of the ready queue an unowned row is in: 0 sleeps, 1 due or blocked, 2 suspect, 3 paused."""
    if paused:
        return 3
    if crashes >= SUSPECT:
        return 2
    return 1 if blocked_by or due <= now else 0


def head(connection: sqlite3.Connection) -> int:
    """The newest revision of the store."""
    return int(connection.execute(HEAD).fetchone()[0])
