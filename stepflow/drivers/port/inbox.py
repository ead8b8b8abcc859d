"""Commits that travel through a caller's own transaction: what may be posted, and its text in the inbox."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from stepflow.drivers.port.commit import (
    SAME_PRIORITY,
    Cancel,
    Commit,
    Created,
    Dequeue,
    Enqueue,
    Event,
    Record,
    Write,
)
from stepflow.drivers.port.queries import PostConflict
from stepflow.drivers.port.schedules import ScheduleEdit, ScheduleRow, decide_edit
from stepflow.errors import CodecError, NotFound, RevMismatch, RunEnded, StepflowError, StoreError
from stepflow.model import outcome
from stepflow.model.lifecycle import QueueRow
from stepflow.model.run_timeout import RunEnd
from stepflow.model.safe_text import storable
from stepflow.model.state import (
    CANCEL,
    CHILDREN,
    DAMAGED,
    EMPTY,
    RENEWED,
    STYLE,
    TIMED_OUT,
    State,
    Transition,
    without_wait,
)

log = logging.getLogger("stepflow")
CHANGE = "change"  # what was posted, of a schedule
UNREADABLE = "unreadable"  # what was posted, if that cannot be told


def dump(commit: Commit) -> str:
    """The JSON text of a commit. Raises StoreError for one that cannot be posted."""
    rows = [part for part in commit.queue if isinstance(part, Enqueue)]
    if commit.dedup is not None:
        raise StoreError(
            "tx= and dedup_key= exclude each other: the earlier run is not known before your commit; use id= instead"
        )
    if commit.delays or commit.data or commit.placeholders or any(row.owned for row in rows):
        raise StoreError("tx= cannot hold a run, delay it or store data: do that without tx=, after your commit")
    if commit.fence or commit.unowned or commit.consume or len(rows) < len(commit.queue):
        raise StoreError("tx= is for starting, publishing and cancelling; do the rest without tx=, after your commit")
    if commit.schedule or commit.pause or commit.flow_pause:
        raise StoreError(
            "tx= takes a change of a schedule as an edit: it may be another one when your transaction commits"
        )
    if commit.cancel and (commit.edit or commit.writes or commit.queue or commit.publish):
        raise StoreError("tx= takes a cancel alone: post the starts and publishes on their own")
    if any(write.state.rev for write in commit.writes):
        raise StoreError("tx= can start a run, it cannot write one that exists already: do that without tx=")
    raw: dict[str, Any] = {
        "writes": [_dump_write(write) for write in commit.writes],
        "queue": [[row.id, row.flow, row.due, row.priority, False, row.limits] for row in rows],
        "publish": [_dump_event(event) for event in commit.publish],
        "cancel": [[one.id, one.at] for one in commit.cancel],
    }
    if commit.edit is not None:
        raw["edit"] = list(commit.edit)
    if commit.same:
        raw["same"] = list(commit.same)
    return json.dumps(raw, ensure_ascii=False)


def _dump_event(event: Event) -> list[Any]:
    plain = [event.run_id, event.name, event.id, event.payload, event.published_at]
    return [*plain, event.seq, event.traceparent] if event.traceparent else plain


def _dump_write(write: Write) -> dict[str, Any]:
    state, created = write.state, write.created
    return {
        "id": state.id,
        "transition": state.transition.text,
        "labels": dict(state.labels),
        "annotations": dict(state.annotations),
        "exchange": write.exchange,
        "born": None if created is None else [created.flow, created.input_hash, created.created_at],
    }


def parse(body: str) -> tuple[Commit, int]:
    """The commit of a stored text, and the time as of which it takes place, microseconds UTC. Raises CodecError for any other text."""
    try:
        return _parsed(body)
    except DAMAGED as error:
        raise CodecError(f"what was posted cannot be read ({type(error).__name__}: {error})") from error


def readable(bodies: Iterable[str]) -> Iterator[Commit]:
    """The commits of these texts; those that cannot be read become conflicts when they are applied."""
    for body in bodies:
        with suppress(CodecError):
            yield parse(body)[0]


def is_readable(body: str) -> bool:
    """Whether this version can read a stored text."""
    return next(readable([body]), None) is not None


def _parsed(body: str) -> tuple[Commit, int]:
    raw = json.loads(body)
    writes = tuple(
        Write(
            State(w["id"], 0, Transition.parse(w["transition"]), w["labels"], w["annotations"]),
            w["exchange"],
            None if w["born"] is None else Created(*w["born"]),
        )
        for w in raw["writes"]
    )
    publish = tuple(Event(*event) for event in raw["publish"])
    cancel = tuple(Cancel(*one) for one in raw.get("cancel", ()))
    times = [write.created.created_at for write in writes if write.created] + [event.published_at for event in publish]
    times += [one.at for one in cancel]
    queue, edit = tuple(Enqueue(*part) for part in raw["queue"]), None
    if "edit" in raw:
        edit = ScheduleEdit(*raw["edit"])
        times.append(edit.at)
    same = tuple(raw.get("same", ()))
    commit = Commit(writes=writes, queue=queue, publish=publish, cancel=cancel, edit=edit, same=same)
    return commit, max(times, default=0)


def needle(run_id: str) -> str:
    """A text that the stored text of every commit for this run, or schedule, has in it; those of others may have it, too."""
    return json.dumps(run_id, ensure_ascii=False)


BEGINNING = 200  # characters of each text that an index of the inbox has


def beginnings(run_id: str) -> tuple[str, str]:
    """The text of every commit that makes this run has a beginning, of BEGINNING characters, that sorts from the first of these to before the second."""
    first = f'{{"writes": [{{"id": {needle(run_id)}'[:BEGINNING]
    return first, first + "~"  # a comma comes behind the id


def made_by(run_id: str, bodies: Iterable[str]) -> Created | None:
    """How the run is made by the first of the commits with these texts that makes it; None if none does."""
    writes = (write for commit in readable(bodies) for write in commit.writes)
    return next((write.created for write in writes if write.state.id == run_id), None)


def ending(record: Record | None, run_id: str, now: int) -> Commit | StepflowError | None:
    """The commit by which a posted cancel takes place now; None: the run is cancelled already."""
    if record is None:
        return NotFound(f"there is no run {run_id!r} in this namespace")
    state, row = record.state, record.row
    if state.transition.status == "cancelled":
        return None
    if state.transition.status:
        return RunEnded(run_id, state.transition.status, "it cannot be cancelled")
    if row is not None and row.owner:
        return Commit(cancel=(Cancel(run_id),))
    return cancel_of(record, now)


def cancel_of(record: Record, now: int) -> Commit:
    """The commit that cancels a run which no worker holds: it ends, or, of a workflow that did something, sees Cancelled.

    Such a workflow may undo what it did, and cancels its children when it ends.
    """
    return _stopped(record, now, _cancelled(record.state))


def timed_out(record: Record, end: RunEnd, now: int) -> Commit:
    """The commit that ends a run which no worker holds since its time limit is over; such a workflow sees Cancelled, too, and then fails."""
    return _stopped(record, now, outcome.timed_out(record.state.transition, end), {TIMED_OUT: "1"})


def _stopped(record: Record, now: int, final: Transition, why: Mapping[str, str] = EMPTY) -> Commit:
    """The commit that ends a run so, or, of a workflow that did something, lets it see Cancelled and notes `why`."""
    state, notes = record.state, record.state.transition.annotations
    transition, queue = final, Dequeue(state.id)  # type: Transition, Enqueue | Dequeue
    if STYLE in notes and (record.journaled or CHILDREN in notes or RENEWED in notes):
        kept = without_wait(notes)
        transition = Transition(state.transition.to, {CANCEL: str(now), **why, **kept})
        queue = Enqueue(state.id, transition.to, now, SAME_PRIORITY)
    write = Write(State(state.id, state.rev, transition, state.labels, state.annotations, now))
    return Commit(unowned=(state.id,), writes=(write,), queue=(queue,))


def _cancelled(state: State) -> Transition:
    return outcome.final(state.transition, "cancelled", "")


def as_posted(record: Record | None, run_id: str, commits: Iterable[Commit]) -> Record | None:
    """The record of a run once these posted commits have taken place; without exchange and events."""
    for commit in commits:
        for write in commit.writes:
            if record is None and write.state.id == run_id and write.created is not None:
                parts = [one for one in commit.queue if isinstance(one, Enqueue) and one.id == run_id]
                rows = [QueueRow(one.flow, one.due, priority=one.priority, limits=one.limits) for one in parts]
                at = write.created.created_at
                record = Record(write.state._replace(committed_at=at), write.created, "", rows[0] if rows else None)
        for event in commit.publish:
            if record is not None and event.run_id == run_id:
                record = record._replace(row=_woken(record, event))
        for cancel in commit.cancel:
            if record is not None and cancel.id == run_id and not record.state.transition.status:
                record = _ended(record, cancel.at)
    return record


def schedule_as_posted(row: ScheduleRow | None, schedule_id: str, commits: Iterable[Commit]) -> ScheduleRow | None:
    """A schedule once these posted commits have taken place."""
    for commit in commits:
        if commit.edit is not None and commit.edit.id == schedule_id:
            found = decide_edit(commit.edit, row, commit.edit.at)
            row = row if isinstance(found, StepflowError) else found
    return row


def _woken(record: Record, event: Event) -> QueueRow | None:
    """The queue row once the run has this event."""
    transition, row = record.state.transition, record.row
    if event.name not in transition.events or transition.status:
        return row
    if row is None:
        return QueueRow(transition.to, event.published_at)
    return row if row.owner else row._replace(due=min(row.due, event.published_at))


def _ended(record: Record, at: int) -> Record:
    state, row = record.state, record.row
    if row is not None and row.owner:
        return record._replace(row=row._replace(cancel=True))
    return record._replace(state=state._replace(transition=_cancelled(state), committed_at=at), row=None)


def is_made(commit: Commit, found: Callable[[str], tuple[str, str] | None]) -> bool:
    """Whether every run that a refused commit would make exists as it would be: `found` tells flow and digest of the input."""
    made = [(write.created, found(write.state.id)) for write in commit.writes]
    return bool(made) and all(
        c is not None and there is not None and there[0] == c.flow and there[1] in (c.input_hash, *commit.same)
        for c, there in made
    )


def subject(commit: Commit) -> tuple[str, str]:
    """The run or schedule that a posted commit is for, and what it is."""
    if commit.edit is not None:
        return commit.edit.id, CHANGE
    if commit.writes:
        return commit.writes[0].state.id, "start"
    if commit.publish:
        return commit.publish[0].run_id, "publish"
    return (commit.cancel[0].id, "cancel") if commit.cancel else ("", UNREADABLE)


def conflict(commit: Commit, refusal: StepflowError, at: int) -> PostConflict:
    """A posted commit that cannot take place."""
    known = "a run of this id was started before, with another flow or input, or it was pruned"
    return PostConflict(*subject(commit), storable(known if isinstance(refusal, RevMismatch) else str(refusal)), at)


def log_conflict(found: PostConflict) -> None:
    """Log that something posted cannot take place."""
    text = "%s %s: a %s was committed with a transaction, but cannot take place: %s; `stepflow doctor` lists it"
    what = "schedule" if found.posted == CHANGE else "run"
    log.error(text, what, found.run_id, found.posted, found.reason, extra={"event": "conflict", "run_id": found.run_id})
