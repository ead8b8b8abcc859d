"""repair: the commits that let a run go on: behind its failure, or at once."""

from __future__ import annotations

import json
from itertools import takewhile
from typing import Any

from stepflow.drivers.port.commit import SAME_PRIORITY, Commit, Enqueue, Record, Write
from stepflow.engine.client.info import awaited
from stepflow.engine.intents import at_same_place, is_of_function
from stepflow.errors import StepflowError
from stepflow.model import outcome as outcomes
from stepflow.model.blocked import UNKNOWN_OUTCOME, read, unreadable_run
from stepflow.model.flow import Passes
from stepflow.model.lifecycle import UNSET, Status, status_of
from stepflow.model.run_timeout import renewed
from stepflow.model.state import (
    CHILDREN,
    HEARD,
    NOTE,
    PASSES,
    POSITION,
    STATUS,
    STYLE,
    TIMED_OUT,
    State,
    Transition,
)
from stepflow.model.step_names import loops_around
from stepflow.steps import StepFlow

LISTED = 5  # children and topics that an error names


def redriven(record: Record, now: int) -> Commit:
    """A failed run goes on at the step that failed, its crashes forgiven; a blocked or waiting one is looked at now.

    One that failed or was blocked has the whole of its `run_timeout` again.
    """
    refuse_unreadable(record.state)
    status, transition = _status(record, now, "redriven"), record.state.transition
    if transition.annotations.get(TIMED_OUT) == HEARD and status is Status.FAILED:
        raise StepflowError(
            f"run {record.state.id!r} may have undone what it did when its run_timeout was over: it cannot be redriven; rewind lets it"
            " go on from a revision of its history"
        )
    if status is Status.FAILED:
        again = outcomes.resumed(transition, record.created.flow).with_notes(note="redriven")
        return due_now(record, again, now, renews=True)
    if status not in (Status.BLOCKED, Status.WAITING):
        other = "; rewind lets it go on from a revision of its history" if status is Status.CANCELLED else ""
        raise StepflowError(
            f"run {record.state.id!r} is {status}: only a failed, blocked or waiting run can be redriven{other}"
        )
    if status is Status.BLOCKED:
        return due_now(record, transition.with_notes(note="redriven"), now, renews=True)
    return due_now(record, transition, now)


def had_children(record: Record) -> bool:
    """Whether this failed workflow started children, which ended with it unless they were to go on."""
    notes = record.state.transition.annotations
    return notes.get(STATUS) == "failed" and STYLE in notes and CHILDREN in notes


def woken(record: Record, now: int) -> Commit:
    """A run that sleeps, polls or is blocked is looked at now."""
    refuse_unreadable(record.state)
    status, transition, run_id = _status(record, now, "woken"), record.state.transition, record.state.id
    if status is Status.WAITING and transition.events:
        names = [name for name in transition.events if awaited(run_id, name) == name]
        if not names:
            others = ", ".join(awaited(run_id, name) for name in transition.events[:LISTED])
            raise StepflowError(f"run {run_id!r} waits for {others}: explain() tells why that does not come")
        raise StepflowError(f"run {run_id!r} waits for event {', '.join(map(repr, names))}: publish it")
    if status not in (Status.SLEEPING, Status.WAITING, Status.BLOCKED):
        other = "; redrive lets it go on" if status is Status.FAILED else ""
        raise StepflowError(
            f"run {run_id!r} is {status}: only one that sleeps, polls or is blocked can be woken{other}"
        )
    if status is Status.SLEEPING and STYLE in transition.annotations and record.row is not None:
        transition = transition.with_notes(woken=str(record.row.due))
    return due_now(record, transition, now)


def refuse_unreadable(state: State) -> None:
    """Raises CodecError for a State of which something cannot be read."""
    if state.transition.problem:
        raise unreadable_run(state.id, state.transition.problem)


def at_position(record: Record, flow: StepFlow[Any], text: str, now: int) -> Commit:
    """A run of this chain that no worker holds goes on now at another position, `text` as it is stored."""
    status, run_id = _status(record, now, "moved"), record.state.id
    if record.created.flow != flow.name:
        raise StepflowError(f"run {run_id!r} is of flow {record.created.flow!r}, not of {flow.name!r}")
    if status.final or status is Status.RUNNING:
        raise StepflowError(f"run {run_id!r} is {status}: only an open run that no worker holds can be moved")
    notes, before = {POSITION: text, NOTE: "moved here"}, record.state.transition.annotations
    here, there = (_loops_at(position) for position in (before.get(POSITION, "[]"), text))
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(here, there, strict=False)))
    # It stays in the passes of the loops around both positions.
    if passes := Passes(same).after(before.get(PASSES, "")):
        notes[PASSES] = passes
    return due_now(record, Transition(flow.name, notes), now)


def _loops_at(position: str) -> list[str]:
    """The loops around a stored position of a chain."""
    texts = [text for text in json.loads(position) if not text.startswith("attempt:")]
    return loops_around(texts[0].partition(":")[2]) if texts else []


def _status(record: Record, now: int, verb: str) -> Status:
    row = record.row
    if row is not None and row.blocked_by == UNKNOWN_OUTCOME and not row.owner:
        raise StepflowError(f"run {record.state.id!r} cannot be {verb}: {read(row.blocked)}")
    if row is not None and row.paused:  # it stays so, whatever is done to it
        row = None if row.due == UNSET else row._replace(paused=False)
    return status_of(record.state, row, now)


def due_now(record: Record, transition: Transition, now: int, *, renews: bool = False) -> Commit:
    """The run at this transition, due now; `renews`: it has the whole of its time limit again. A flow function finds the values of the calls that it has recorded."""
    state = record.state
    if record.journaled and is_of_function(state.transition):
        transition = at_same_place(state._replace(transition=transition), True)
    labels = renewed(state.labels, now) if renews else state.labels
    before = None if labels is state.labels else state.labels
    write = Write(State(state.id, state.rev, transition, labels, state.annotations, now), labels_before=before)
    queue = Enqueue(state.id, transition.to, now, SAME_PRIORITY)
    return Commit(unowned=(state.id,), writes=(write,), queue=(queue,))
