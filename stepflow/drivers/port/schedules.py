"""The values of schedules that cross the port, and the rule of their changes: compare and swap by version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from attrs import frozen

from stepflow.errors import RevMismatch


class ScheduleRow(NamedTuple):
    """A schedule as it is stored: `due` is when a worker shall look at it (microseconds UTC; None: not at all).

    `version` is another number after every change. `body` is a text that the store does not interpret.
    """

    id: str
    version: int
    due: int | None
    body: str


class ScheduleChange(NamedTuple):
    """Makes, replaces or deletes (`body` None) the schedule of this id, if its version is the given one; 0: there is none."""

    id: str
    version: int
    due: int | None = None
    body: str | None = None


@frozen
class ScheduleQuery:
    """Schedules by id, those after `after`, at most `limit`; with `id` that one; with `until` those due by then, the earliest first."""

    id: str | None = None
    until: int | None = None
    after: str | None = None
    limit: int = 1000


def decide_schedule(
    change: ScheduleChange | None, found: Mapping[str, ScheduleRow | None], now: int
) -> ScheduleRow | RevMismatch | None:
    """The row after a change, None if it deletes it; or the refusal of one that another change came before."""
    if change is None:
        return None
    row = found[change.id]
    version = 0 if row is None else row.version
    if version != change.version or (row is None and change.body is None):
        return RevMismatch([change.id])
    if change.body is None:
        return None
    # Above `now`, so that a schedule that is made again after its deletion has no version that the former one had.
    return ScheduleRow(change.id, max(version + 1, now), change.due, change.body)
