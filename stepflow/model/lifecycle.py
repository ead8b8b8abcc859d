"""The lifecycle of a run as one table: which status follows from its State and its ready-queue row."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from stepflow.model.state import State


class Status(str, Enum):
    """What a run is doing, for all authoring styles."""

    QUEUED = "queued"
    """Due, and no worker has claimed it yet."""
    RUNNING = "running"
    """Held by a worker."""
    SLEEPING = "sleeping"
    """Due later: back-off or delay."""
    WAITING = "waiting"
    """For an event, or for a condition that is polled."""
    PARKED = "parked"
    """No flow advances it until a command moves it."""
    PAUSED = "paused"
    """Held back on request."""
    BLOCKED = "blocked"
    """Released by a worker that cannot advance it; `explain` tells why."""
    COMPLETED = "completed"
    """Final: it has its result."""
    FAILED = "failed"
    """Final, unless `redrive` lets it go on: `info().error` is the reason."""
    CANCELLED = "cancelled"
    """Final: `cancel` ended it."""

    def __str__(self) -> str:
        return self.value

    @property
    def final(self) -> bool:
        """True for the three statuses that a run cannot leave by itself."""
        return self in FINAL


FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})
OPEN = tuple(sorted(status.value for status in Status if status not in FINAL))
SUSPECT = 2  # crashes from which a row is given only to a worker that asks for suspects

TABLE: tuple[tuple[frozenset[str], Status | None], ...] = (
    (frozenset({"ended"}), None),  # the final status that the transition names
    (frozenset({"owned"}), Status.RUNNING),
    (frozenset({"paused"}), Status.PAUSED),  # the run, or the flow that created it
    (frozenset({"no_row", "awaits_event"}), Status.WAITING),
    (frozenset({"no_row"}), Status.PARKED),
    (frozenset({"blocked"}), Status.BLOCKED),
    (frozenset({"due"}), Status.QUEUED),
    (frozenset({"polls"}), Status.WAITING),
    (frozenset(), Status.SLEEPING),
)
"""Facts about a run and the status that follows from them: the first line counts all of whose facts hold."""

WITHOUT_ROW = frozenset(status for facts, status in TABLE if status and "no_row" in facts) | {Status.PAUSED}
WITH_ROW = frozenset(status for facts, status in TABLE if status and "no_row" not in facts)
_DUE = next(line for line, (facts, _status) in enumerate(TABLE) if facts == {"due"})
UNTIL_DUE = frozenset(status for _facts, status in TABLE[_DUE + 1 :] if status)  # they end when the run is due


UNSET = (1 << 62) - 1  # the due time of a paused run that would have no queue row if it were not paused


class QueueRow(NamedTuple):
    """A run's row in the ready queue: `due` is integer microseconds UTC, `owner` is empty while no worker holds it.

    `crashes` counts the owners that died holding it without a commit in between; `blocked` says why a worker whose
    definition hash is `blocked_by` released it. `limits` is the text of the limits that a claim must respect. `unfinished` counts
    the attempts of the step at this revision that ended without a commit, because their owner died or was interrupted. A row that
    is `paused` is not claimed; its holder gives it up with the next commit.
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
    unfinished: int = 0
    paused: bool = False


EPOCH = QueueRow._fields.index("epoch")  # for loops that count


@lru_cache(maxsize=256)
def status_from(facts: frozenset[str]) -> Status:
    """The status of a run that has not ended."""
    return next(status for needed, status in TABLE if status is not None and needed <= facts)


def status_of(state: State, row: QueueRow | None, now: int, *, flow_paused: bool = False) -> Status:
    """The status of a run at time `now` (microseconds); `flow_paused`: the flow that created it is paused."""
    transition = state.transition
    if transition.status:
        return Status(transition.status)
    facts = {
        "no_row": row is None,
        "awaits_event": bool(transition.events),
        "owned": row is not None and row.owner != "",
        "paused": flow_paused or (row is not None and row.paused),
        "blocked": row is not None and row.blocked != "",
        "due": row is not None and row.due <= now,
        "polls": transition.polls,
    }
    return status_from(frozenset(fact for fact, holds in facts.items() if holds))


def status_sql(facts: Mapping[str, str], final: str) -> str:
    """The table as an SQL expression; `facts` are the conditions of the store, `final` is the final status or ''."""
    lines = [
        f"WHEN {' AND '.join(facts[fact] for fact in sorted(needed))} THEN " + (f"'{status}'" if status else final)
        for needed, status in TABLE
        if needed
    ]
    return f"CASE {' '.join(lines)} ELSE '{TABLE[-1][1]}' END"


def stored_statuses(statuses: Collection[str] | None) -> tuple[str, ...]:
    """The final statuses, '' while a run is open, that a store has for the runs of these statuses (None: any); none for texts that are none."""
    if statuses is None:
        return "", *sorted(final.value for final in FINAL)
    known = {Status(one) for one in statuses if one in Status._value2member_map_}
    return tuple(sorted({one.value if one.final else "" for one in known}))
