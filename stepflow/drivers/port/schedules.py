"""The values of schedules that cross the port, and the rule of their changes: compare and swap by version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from attrs import frozen

from stepflow.errors import NotFound, RevMismatch, StepflowError, TooLarge
from stepflow.model.schedule_edit import parts_of, with_edit

RUN_END = "\x01"  # begins the id of the row by which workers hear that the time limit of a run is over; the id of the run follows
_SCHEDULES = "\x02"  # sorts behind all of those, and before the ids of schedules
MOST_EDITS = 1000  # that come with transactions, until a worker or a caller stores the schedule anew


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


class ScheduleEdit(NamedTuple):
    """A change of a schedule, as it then is, that comes through a caller's transaction: `text` is put behind its body (None: it is deleted).

    `at` is the time of the change, microseconds UTC; a worker shall look at the schedule then. `absent` says what to do if there is
    no such schedule. `stepflow.model.schedule_edit` has the texts; a store does not interpret them.
    """

    id: str
    at: int
    text: str | None = None
    absent: Literal["make", "refuse", "ignore"] = "refuse"


def run_end_id(run_id: str) -> str:
    """The id of the row that is due when the time limit of this run is over."""
    return RUN_END + run_id


def run_end_row(run_id: str, version: int, due: int) -> ScheduleRow:
    """That row; its body is a change that a schedule could have, which no payload stage seals."""
    return ScheduleRow(run_end_id(run_id), version, due, '{"verb":"end"}')


@frozen
class ScheduleQuery:
    """Schedules by id, those after `after`, at most `limit`; with `id` that one; with `until` those due by then, the earliest first.

    The rows of the time limits of runs (`run_end_id`) are among those that are due, but in no list by id.
    """

    id: str | None = None
    until: int | None = None
    after: str = _SCHEDULES
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


def decide_edit(edit: ScheduleEdit, row: ScheduleRow | None, now: int) -> ScheduleRow | StepflowError | None:
    """The row after an edit, None if there is none; or the refusal of the edit."""
    if row is None and edit.absent != "make":
        return None if edit.absent == "ignore" else no_schedule(edit.id)
    if edit.text is None:
        return None
    if row is not None and len(parts_of(row.body)) > MOST_EDITS:
        return TooLarge(f"schedule {edit.id!r}: {MOST_EDITS} changes wait for a worker of the namespace: run one")
    body = with_edit(None if row is None else row.body, edit.text)
    version = 0 if row is None else row.version
    return ScheduleRow(edit.id, max(version + 1, now), edit.at, body)


def no_schedule(schedule_id: str) -> NotFound:
    """There is none of this id."""
    return NotFound(f"there is no schedule {schedule_id!r} in this namespace: engine.schedule() makes one")
