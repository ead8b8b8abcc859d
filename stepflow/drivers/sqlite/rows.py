"""Between table rows and the port's values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepflow.drivers.port.commit import Event
from stepflow.model.blocked import unreadable_row
from stepflow.model.lifecycle import SUSPECT, QueueRow
from stepflow.model.state import Transition

STATE = "s.id, s.rev, s.transition, s.labels, s.annotations, s.committed_at"
# A column holds what was written to it, so a damaged one may have a text: as a count that is 0, as a mark of a pause it is set.
# As a due time it keeps the row from being claimed, as a cancel mark too: the first claim sets the row aside.
NUMBER = "cast(q.{} AS INTEGER)"
QUEUE = (
    f"q.flow, q.due, q.owner, {NUMBER.format('epoch')}, {NUMBER.format('claim_rev')}, {NUMBER.format('priority')},"
    f" {NUMBER.format('crashes')}, q.cancel, q.blocked, q.blocked_by, q.limits,"
    f" {NUMBER.format('unfinished')}, q.paused <> 0"
)
EVENT = "run_id, name, id, payload, published_at, seq, ifnull(traceparent, '')"


def derived_of(transition: Transition) -> tuple[str, str, bool]:
    """The columns status, event and polls of a transition; `event` is empty if the run waits for none."""
    return transition.status, "\n".join(transition.events), transition.polls


def read_queue(row: Sequence[Any]) -> QueueRow | None:
    """A queue row from the columns `QUEUE`; None where a left join found none."""
    flow, due, owner, epoch, claim_rev, priority, crashes, cancel, blocked, by, limits, unfinished, paused = row
    if flow is None:
        return None
    if not isinstance(due, int):
        blocked, by, due = unreadable_row(f"its due time {due!r:.80} is no number"), "", 0
    if not isinstance(cancel, int):
        blocked, by, cancel = unreadable_cancel(cancel), "", 0
    rest = blocked, by, limits, unfinished, bool(paused)
    return QueueRow(flow, due, owner, epoch, claim_rev, priority, crashes, bool(cancel), *rest)


def unreadable_cancel(cancel: object) -> str:
    """The text of a row whose cancel mark is damaged."""
    return unreadable_row(f"its cancel mark {cancel!r:.80} is no number: the run may have been cancelled")


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
