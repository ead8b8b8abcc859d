"""What callers see of a run: its info, its errors and its history."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from attrs import Factory, frozen

from stepflow.drivers.port.commit import Event, Record
from stepflow.drivers.port.delays import Delay
from stepflow.drivers.port.queries import Revision
from stepflow.engine.clock import moment
from stepflow.errors import CodecError
from stepflow.model.blocked import Blocked, read
from stepflow.model.codec import SEALED, UNOPENED, Codec, tags_of
from stepflow.model.data import ALIAS_PREFIX
from stepflow.model.family import PARENT, RESERVED, child_awaited, own_labels
from stepflow.model.lifecycle import UNSET, QueueRow, Status, status_of
from stepflow.model.limits import Limit, parse
from stepflow.model.outcome import FLOW
from stepflow.model.recovery import TRIED
from stepflow.model.run_timeout import end_of
from stepflow.model.state import (
    ATTEMPT,
    CANCEL,
    DAMAGED,
    DEADLINE,
    ERROR,
    NEXT_ATTEMPT,
    PAYLOADS,
    POSITION,
    TIMED_OUT,
    TRACEPARENT,
    UNFINISHED,
    WAITING,
    State,
    Transition,
    trace_of,
)
from stepflow.model.topic import topic_awaited


@frozen
class RunError:
    """A stored error: the exception's class name, its message, the traceback as text, and in a chain the path of the step that raised it, in a workflow the key of the call."""

    type: str
    message: str
    traceback: str = ""
    step: str = ""


@frozen
class RunInfo:
    """A run at one moment.

    `position` is the list of strings that `apply` takes; `waiting_for` is `"event:<name>"`, `"poll"`, `"delay"` or empty;
    of a run that waits for any of several events it is `"event:<name>, event:<name>"`, and `awaits` is the names;
    `payload_schemas` are the JSON schemas of the payloads with which it waits for them, by name, as far as their types tell;
    `due` is when a worker may take it (None: nothing is scheduled), `deadline` when its wait times out; `error` is the
    failure that ended it or that led to its present retry; `owner` holds it now, `owner_died` tells that its process has ended, as far as
    the store can tell, and that another worker is to take the run over; `blocked` says why a worker released it (None: it is not blocked);
    `to` is the flow that it goes to, or went to when it ended; `attempt` is the number of the next or present try of the innermost retry around the step; attempts that died or were
    interrupted count, too. `unread` is how many events were published and not taken yet, by name, if `info()` was asked: `runs()` does not read them. `cancel_requested` tells that its holder is about to end it as cancelled. `limits` are those that a worker must respect to take it. `parent` is the id of the run that started
    this one as its child. `paused`: the run itself is to be held back, or is; with the status `paused` and this False its flow is.
    `input` is the JSON value of what a workflow was started with, if `info()` was asked, and if that can be read here.
    `trace_id` is that of its OpenTelemetry trace, 32 hex digits; empty if it has none.
    `annotations` are those that users gave the State and its present transition, of one name that of the transition.
    `ends_at` is when its `run_timeout` is over (None: it has none, or it has ended, or is about to end as cancelled).
    `unreadable` says why the run cannot be read here, or its values, with the payload stages and the key; empty if they can, or the values were not looked at (`runs()`).
    """

    id: str
    flow: str
    status: Status
    position: list[str]
    rev: int
    labels: Mapping[str, str]
    created_at: datetime
    updated_at: datetime
    waiting_for: str = ""
    awaits: tuple[str, ...] = ()
    due: datetime | None = None
    deadline: datetime | None = None
    attempt: int = 1
    priority: int = 0
    error: RunError | None = None
    owner: str = ""
    crashes: int = 0
    blocked: Blocked | None = None
    to: str = ""
    limits: tuple[Limit, ...] = ()
    cancel_requested: bool = False
    unread: Mapping[str, int] = Factory(dict)
    parent: str = ""
    paused: bool = False
    input: Any = None
    trace_id: str = ""
    payload_schemas: Mapping[str, Any] = Factory(dict)
    annotations: Mapping[str, str] = Factory(dict)
    unreadable: str = ""
    owner_died: bool = False
    ends_at: datetime | None = None


@frozen
class HistoryEntry:
    """One revision of a run: its position, the JSON value of the exchange then, and the error that led to it, if any.

    `unreadable` says why that value, which is None then, or the revision cannot be read here.
    """

    rev: int
    at: datetime
    position: list[str]
    exchange: Any
    status: str = ""
    error: RunError | None = None
    unreadable: str = ""


PLAIN_JSON = Codec[Any]()


def position_of(transition: Transition) -> list[str]:
    """The position that a transition carries, `[]` for other authoring styles."""
    found: list[str] = json.loads(transition.annotations.get(POSITION, "[]"))
    return found


def error_of(transition: Transition) -> RunError | None:
    """The error that a transition carries."""
    text = transition.annotations.get(ERROR)
    if text is None:
        return None
    raw = json.loads(text)
    return RunError(raw["type"], raw["message"], raw["traceback"], raw.get("step", ""))


def info_of(
    record: Record, now: int, delay: Delay | None = None, *, paused: bool = False, dead: Collection[str] = ()
) -> RunInfo:
    """The public view of a record; `delay` is the pending one that will move it on, if any; `paused`: its flow is paused.

    `dead` are the ids of owners that died. What cannot be read is left out.
    """
    try:
        return _info_of(record, now, delay, paused, dead)
    except DAMAGED as error:
        state = record.state
        status = Status(state.transition.status) if state.transition.status else Status.BLOCKED
        return RunInfo(
            state.id, record.created.flow, status, [], state.rev, own_labels(state.labels), _moment(record.created.created_at),
            _moment(state.committed_at), unreadable=f"a number or text of its rows: {type(error).__name__}: {error}",
        )  # fmt: skip


def _moment(at: Any) -> datetime:
    """The time, or the beginning of all times if it cannot be read."""
    try:
        return moment(at)
    except DAMAGED:
        return moment(0)


def _info_of(record: Record, now: int, delay: Delay | None, paused: bool, dead: Collection[str]) -> RunInfo:
    state, row, notes = record.state, record.row, record.state.transition.annotations
    due = delay.due if delay is not None else None if row is None else row.due
    deadline = notes.get(DEADLINE)
    status = status_of(state, row, now, flow_paused=paused)
    return RunInfo(
        id=state.id,
        flow=record.created.flow,
        status=status if delay is None or status is Status.PAUSED else Status.SLEEPING,
        position=position_of(state.transition),
        rev=state.rev,
        labels=own_labels(state.labels),
        created_at=moment(record.created.created_at),
        updated_at=moment(state.committed_at),
        waiting_for=_waiting_for(state.transition) if delay is None else "delay",
        awaits=() if delay is not None or state.transition.status else state.transition.events,
        due=None if due is None or due == UNSET else moment(due),
        deadline=None if deadline is None else moment(int(deadline)),
        attempt=attempt_of(state.transition) + _unfinished(state, row),
        priority=0 if row is None else row.priority,
        error=error_of(state.transition),
        owner="" if row is None else row.owner,
        owner_died=row is not None and row.owner in dead,
        crashes=0 if row is None else row.crashes,
        blocked=None if row is None else read(row.blocked),
        to=state.transition.to or notes.get(FLOW, ""),
        limits=() if row is None else parse(row.limits),
        cancel_requested=not state.transition.status and _cancel_requested(notes, row),
        unread=dict(Counter(event.name for event in of_users(record.events))),
        parent=state.labels.get(PARENT, ""),
        paused=not state.transition.status and row is not None and row.paused,
        trace_id=trace_of(state.annotations),
        payload_schemas={} if delay is not None or PAYLOADS not in notes else json.loads(notes[PAYLOADS]),
        unreadable=state.transition.problem or unreadable(record),
        ends_at=_ends_at(state),
        annotations=_of_users(state.annotations) | _of_users(notes),
    )


def _cancel_requested(notes: Mapping[str, str], row: QueueRow | None) -> bool:
    return _is_cancelled(notes) or (row is not None and row.cancel)


def _is_cancelled(notes: Mapping[str, str]) -> bool:
    """Whether a workflow undoes what it did because of a cancel, and not since its time limit is over."""
    return CANCEL in notes and TIMED_OUT not in notes


def _ends_at(state: State) -> datetime | None:
    """When the time limit of a run is over, which has not ended, and was not cancelled."""
    notes, end = state.transition.annotations, end_of(state.labels)
    over = state.transition.status or _is_cancelled(notes)
    return None if end is None or over else moment(end.at)


def of_users(events: Iterable[Event]) -> list[Event]:
    """The events without those by which the library tells a run of its family and its topics."""
    return [event for event in events if not event.name.startswith(RESERVED)]


def unreadable(record: Record) -> str:
    """Why the exchange cannot be read by this engine; empty if it can, or was not loaded."""
    if record.exchange[:1] != SEALED:
        return ""
    tags, (key, colon, _digest) = tags_of(record.exchange), record.created.input_hash.partition(":")
    stages = f"; it has the stages {tags}" if tags else ""
    return f"{UNOPENED}{stages}{f'; the run was started with the key {key}' if colon else ''}"


def _of_users(annotations: Mapping[str, str]) -> dict[str, str]:
    """Without what the library writes: its own notes, the trace and the revisions of data."""
    mine = (RESERVED, ALIAS_PREFIX)
    return {k: v for k, v in annotations.items() if not k.startswith(mine) and k not in (TRACEPARENT, TRIED)}


def awaited(run_id: str, event: str) -> str:
    """For what a run waits by an event of this name, in words: the end of a child and a message of a topic are events, too."""
    child, topic = child_awaited(run_id, event), topic_awaited(event)
    return f"child {child}" if child else f"topic {topic}" if topic else event


def _waiting_for(transition: Transition) -> str:
    return ", ".join(f"event:{name}" for name in transition.events) or transition.annotations.get(WAITING, "")


def entry_of(revision: Revision) -> HistoryEntry:
    """The public view of a revision."""
    state, exchange, why = revision.state, None, ""
    try:
        exchange = PLAIN_JSON.decode(revision.exchange)
    except CodecError as error:
        why = UNOPENED if revision.exchange[:1] == SEALED else str(error)
    transition, at = state.transition, _moment(state.committed_at)
    failed, why = error_of(transition), transition.problem or why
    return HistoryEntry(state.rev, at, position_of(transition), exchange, transition.status, failed, why)


def _unfinished(state: State, row: QueueRow | None) -> int:
    """How many attempts of the present step died or were interrupted; the row counts those at its revision."""
    before = int(state.transition.annotations.get(UNFINISHED, "0"))
    return before if row is None or (row.owner and row.claim_rev != state.rev) else before + row.unfinished


def attempt_of(transition: Transition) -> int:
    """Which try comes next: of the innermost retry group that counts in the position, else of the run's own policy."""
    notes = transition.annotations
    if TRIED in notes:
        return int(notes[TRIED]) + 1
    counted = [text.split(":", 2)[1] for text in position_of(transition) if text.startswith("attempt:")]
    group = notes.get(NEXT_ATTEMPT) or (counted[0] if counted else "1")
    return int(group) + int(notes.get(ATTEMPT, "1")) - 1
