"""The lifecycle of a run as one table: which status follows from its State and its ready-queue row."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from stepflow.model.state import State


class Status(str, Enum):
    """What a run is doing, for all authoring styles."""

    QUEUED = "queued"  # due, no worker has claimed it yet
    RUNNING = "running"  # held by a worker
    SLEEPING = "sleeping"  # due later: back-off or delay
    WAITING = "waiting"  # for an event, or for a condition that is polled
    PARKED = "parked"  # no flow advances it until a command moves it
    PAUSED = "paused"  # held back on request
    BLOCKED = "blocked"  # released by a worker that cannot advance it; `explain` tells why
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    def __str__(self) -> str:
        return self.value

    @property
    def final(self) -> bool:
        """True for the three statuses that a run cannot leave by itself."""
        return self in FINAL


FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})


class QueueRow(NamedTuple):
    """A run's row in the ready queue: `due` is integer microseconds UTC, `owner` is empty while no worker holds it.

    `crashes` counts the owners that died holding it without a commit in between; `blocked` says why a worker whose
    definition hash is `blocked_by` released it. `limits` is the text of the limits that a claim must respect.
    """

    flow: str
    due: int
    owner: str = ""
    epoch: int = 0
    claim_rev: int = 0
    priority: int = 0
    crashes: int = 0
    cancel: bool = False
    blocked: str = ""
    blocked_by: str = ""
    limits: str = ""


OWNER, EPOCH = QueueRow._fields.index("owner"), QueueRow._fields.index("epoch")  # for loops that count


def status_of(state: State, row: QueueRow | None, now: int) -> Status:
    """The status of a run at time `now` (microseconds)."""
    transition = state.transition
    if transition.status:
        return Status(transition.status)
    if row is None:
        return Status.WAITING if transition.event else Status.PARKED
    if row.owner:
        return Status.RUNNING
    if row.blocked:
        return Status.BLOCKED
    if row.due <= now:
        return Status.QUEUED
    return Status.WAITING if transition.polls else Status.SLEEPING
