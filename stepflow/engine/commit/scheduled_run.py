"""The commits of schedules: the run that a schedule starts, and the change of its record."""

from __future__ import annotations

from stepflow.drivers.port.commit import Commit, Created, Enqueue, Write
from stepflow.drivers.port.schedules import ScheduleChange
from stepflow.model.codec import Unopened
from stepflow.model.run_timeout import with_end
from stepflow.model.schedule import SCHEDULE, ScheduleRecord, dump_schedule
from stepflow.model.state import State, Transition


def change_of(record: ScheduleRecord, version: int, now: int) -> ScheduleChange:
    """The change that replaces the record of this version."""
    return ScheduleChange(record.id, version, record.due(now), dump_schedule(record))


def run_of(record: ScheduleRecord, run_id: str, now: int, first: Transition | None = None) -> Commit:
    """The commit that creates a run, due now; `first` is its first transition, if this process knows the flow.

    Raises Unopened if the input of the schedule cannot be read here: a run of it needs the key.
    """
    if record.unreadable:
        raise Unopened(f"schedule {record.id!r} cannot start a run: {record.unreadable}")
    transition = first or Transition(record.to, record.notes)
    if record.limit:
        transition = transition.with_notes(deadline=str(now + record.limit))
    labels = with_end({**record.labels, SCHEDULE: record.id}, record.run_timeout, now)
    created = Created(record.flow, record.input_hash, now)
    write = Write(State(run_id, 0, transition, labels, {}, now), record.exchange, created)
    queue = () if not transition.to else (Enqueue(run_id, record.flow, now, record.priority),)
    return Commit(writes=(write,), queue=queue)
