"""decider: what each call of a workflow does, given the journal; generators that the sync and the async context share.

A generator yields a StepCall, and receives `(error, value)` of it, or a Note, and goes on when that is durable. It returns the value
of the call, or raises what the workflow shall see.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import Any

from stepflow.errors import Cancelled, CodecError, DefinitionError, StepflowError, Terminal, TimedOut
from stepflow.model.codec import Codec
from stepflow.model.durations import duration_text
from stepflow.model.generators import lazy_problem
from stepflow.model.retry import RetryPolicy
from stepflow.replay.child_effects import ChildEffect, Relabel
from stepflow.replay.journal import (
    CANCELLED,
    Journal,
    Many,
    Note,
    Published,
    Recorded,
    StepCall,
    Suspended,
    Suspension,
    Together,
    Transacted,
)
from stepflow.replay.results import UnknownOutcome
from stepflow.replay.step import PLAIN, StepFunction, step_function

SECOND = 1_000_000
Effects = Generator[StepCall | Transacted | Many | Note | Together | ChildEffect, Any, Any]


def execute(
    journal: Journal,
    key: str,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    retry: RetryPolicy | None,
    limit_s: float | None,
    renamed: str | None,
    awaits: bool,
    kind: str = "step",
    at_most_once: bool = False,
) -> Effects:
    """Call a step once: the recorded value or failure, else that of the call, which is recorded; a `transaction` with what it writes."""
    transacted = kind == "transaction"
    journal.enter("transaction" if transacted else "execute", key)
    step = step_of(journal, key, fn, awaits)
    if transacted and (problem := journal.host.transaction_problem(step.is_async)):
        raise journal.wrong(DefinitionError(f"{journal.flow}: wf.transaction({key!r}): {problem}"))
    row = journal.take(kind, key, step.name, renamed)
    if row is not None and row.kind == kind:
        return recorded(journal, row, step.codec)
    if row is not None and row.kind == "intent":
        return (yield from _resolved(journal, key, step))
    tried, unfinished = 0, journal.unfinished
    if row is not None or journal.host.stopping() or journal.host.cancelling():
        yield from begin(journal, key, row, step.name)
        tried, unfinished = yield from _attempts(row, journal)
    if at_most_once:
        yield Note(key, "intent", step.name, "null")
    while True:
        tried += 1
        call = StepCall(fn, args, step.is_async, limit_s, key, tried + unfinished, at_most_once)
        raised, value = yield Transacted(call, partial(_noted, key, kind, step)) if transacted else call
        if isinstance(raised, Cancelled):
            yield from _cancel(journal, key, step.name)
        if raised is None:
            if transacted:
                return value
            try:
                note, value = _noted(key, kind, step, value)
            except Exception as refusal:  # noqa: BLE001 - CodecError, TooLarge, and what user classes raise
                raised = refusal
            else:
                yield note
                return value
        if isinstance(raised, UnknownOutcome):
            raise journal.wrong(raised)
        failure = journal.host.stored(raised)
        if retry is None or isinstance(raised, Terminal) or not retry.allows(tried, raised):
            yield Note(key, kind, step.name, failure, failed=True)
            raise failed(journal, key, failure)
        delay = round(retry.delay_s(tried, f"{journal.run_id}/{key}") * SECOND)
        due = journal.host.now() + delay
        text = json.dumps({"attempt": tried, "due": due, "error": failure, "unfinished": unfinished})
        row_kind = "transaction_attempt" if transacted else "attempt"
        note, following = Note(key, row_kind, step.name, text), tried + unfinished + 1
        if delay > 0:
            raise journal.suspend(Suspension(f"step:{key}", due, (note,), error=failure, attempt=following))
        yield note


def _noted(key: str, kind: str, step: StepFunction, value: Any) -> tuple[Note, Any]:
    """The row of a value, and the value as a replay restores it."""
    text, value = round_trip(step, value)
    return Note(key, kind, step.name, text), value


def _resolved(journal: Journal, key: str, step: StepFunction) -> Generator[Note, Any, Any]:
    """Of a call that was interrupted and must not be made again: record how it ended, as a caller found out; else block the run."""
    yield from interrupted(journal, key, step.name)
    resolution = journal.resolution
    if resolution is None or resolution["step"] != key:
        raise journal.wrong(UnknownOutcome(key))
    if (failure := resolution["error"]) is not None:
        yield Note(key, "step", step.name, failure, failed=True)
        raise failed(journal, key, failure)
    text = resolution["value"] or "null"
    try:
        value = step.codec.decode(text)
    except CodecError as error:
        why = f"it was resolved, but by a value that does not fit: {error}; so"
        raise journal.wrong(UnknownOutcome(key, why)) from error
    yield Note(key, "step", step.name, text)
    return value


def step_of(journal: Journal, key: str, fn: Callable[..., Any], awaits: bool) -> StepFunction:
    """What there is to know of a step; a wrong one blocks the run."""
    try:
        step = step_function(fn)
        if step.is_async and not awaits:
            raise DefinitionError(f"{step.name} is async: make the workflow an async function")
    except (DefinitionError, CodecError) as error:
        raise journal.wrong(DefinitionError(f"{journal.flow}: step {key!r}: {error}")) from error
    return step


def sleep_until(journal: Journal, key: str, due: Callable[[int], int], verb: str) -> Effects:
    """Sleep until `due(now)`, microseconds UTC, as it was at the first call."""
    journal.enter(verb, key)
    row = journal.take("sleep", key)
    now = journal.host.now()
    if row is not None and row.kind == "sleep":
        if (until := int(row.text)) > now:
            yield from interrupted(journal, key)
            raise journal.suspend(Suspension(f"sleep:{key}", until))
        return
    yield from begin(journal, key, row)
    note = Note(key, "sleep", "", str(until := due(now)))
    if until > now:
        raise journal.suspend(Suspension(f"sleep:{key}", until, (note,)))
    yield note


def wait_for_event(
    journal: Journal, key: str, name: str, codec: Codec[Any], limit_s: float | None, latch: bool
) -> Effects:
    """The payload of the first event of this name that no wait has taken; TimedOut if there is none in time."""
    journal.enter("wait_for_event", key)
    if not isinstance(name, str) or not name:
        raise journal.wrong(
            DefinitionError(
                f"{journal.flow}: wf.wait_for_event({key!r}, {name!r:.80}): name the event, a non-empty text"
            )
        )
    row = journal.take("event", key, name)
    if row is not None and row.kind == "event":
        return recorded(journal, row, codec)
    now = journal.host.now()
    deadline: int | None = None
    if row is None or row.kind == CANCELLED:
        yield from begin(journal, key, row, name)
        deadline = None if limit_s is None else now + round(limit_s * SECOND)
    else:
        deadline = json.loads(row.text)
    found = [one for one in journal.events if one.name == name and (deadline is None or one.published_at < deadline)]
    if found:
        yield from _taken(journal, key, name, codec, found if latch else found[:1])
        return codec.decode(found[-1 if latch else 0].payload)
    if deadline is not None and deadline <= now:
        late = (
            f"no event {name!r} within {duration_text(limit_s)}"
            if limit_s is not None
            else f"no event {name!r} in time"
        )
        failure = journal.host.stored(TimedOut(f"{key}: {late}"))
        yield Note(key, "event", name, failure, failed=True)
        raise failed(journal, key, failure)
    yield from interrupted(journal, key, name)
    rows = () if row is not None else (Note(key, "wait", name, json.dumps(deadline)),)
    raise journal.suspend(Suspension(f"event:{key}", deadline, rows, events=(name,)))


def drawn(journal: Journal, verb: str, key: str, draw: Callable[[], str]) -> Effects:
    """A value that the outside gives, drawn once: its text."""
    journal.enter(verb, key)
    row = journal.take(verb, key)
    if row is not None and row.kind == verb:
        return row.text
    yield from begin(journal, key, row)
    text = draw()
    yield Note(key, verb, "", text)
    return text


def set_labels(journal: Journal, key: str, labels: Mapping[str, str | None]) -> Effects:
    """Change labels of the run once."""
    journal.enter("set_labels", key)
    row = journal.take("labels", key)
    if row is None or row.kind != "labels":
        yield from begin(journal, key, row)
        yield Relabel(labels, Note(key, "labels", "", "null"))


def patched(journal: Journal, key: str) -> Effects:
    """Whether new code runs: in runs that come here for the first time, not in those that came by before it was there."""
    journal.enter("patched", key)
    if key in journal.left:
        journal.take("patched", key)
        return True
    if journal.unread():
        return False
    yield Note(key, "patched", "", "true")
    return True


def continue_as_new(journal: Journal, text: str) -> Suspended:
    """End this attempt and all that was recorded; the run begins anew with another input. The exception is to be raised."""
    journal.check("continue_as_new", "")
    if journal.forks:
        raise journal.wrong(
            DefinitionError(
                f"{journal.flow}: wf.continue_as_new() is called inside of wf.gather: call it when that has ended"
            )
        )
    journal.finished()
    journal.renewed = text
    return journal.suspend(Suspension())


def begin(journal: Journal, key: str, row: Recorded | None, name: str = "") -> Generator[Note, Any, None]:
    """Before something new: raise Cancelled as recorded, or end the attempt if that was requested."""
    if row is not None and row.kind == CANCELLED:
        journal.cancelled = True
        raise Cancelled
    yield from interrupted(journal, key, name)


def interrupted(journal: Journal, key: str, name: str = "") -> Generator[Note, Any, None]:
    """End the attempt, or raise Cancelled, if that was requested."""
    if journal.host.stopping():
        raise journal.suspend(Suspension())
    if not journal.host.cancelling():
        return
    if not journal.cancelled:
        yield from _cancel(journal, key, name)
    if not journal.host.may_undo():
        journal.over = True
        raise journal.suspend(Suspension())


def _cancel(journal: Journal, key: str, name: str) -> Generator[Note, Any, None]:
    yield Note(key, CANCELLED, name, "null", failed=True)
    journal.cancelled = True
    raise Cancelled


def _attempts(row: Recorded | None, journal: Journal) -> Generator[Note, Any, tuple[int, int]]:
    """How many attempts of a step failed, and how many died; ends the attempt of the run if the next one is not due yet."""
    if row is None:
        return 0, journal.unfinished
    raw = json.loads(row.text)
    tried, unfinished = raw["attempt"], raw.get("unfinished", 0) + journal.unfinished
    if raw["due"] > journal.host.now():
        yield from interrupted(journal, row.key, row.name)
        raise journal.suspend(
            Suspension(f"step:{row.key}", raw["due"], error=raw["error"], attempt=tried + unfinished + 1)
        )
    return tried, unfinished


def round_trip(step: StepFunction, value: Any) -> tuple[str, Any]:
    """The text of a value, and the value as a replay restores it."""
    codec = step.codec
    if type(value) is int and codec.type is int:
        return str(value), value
    if problem := lazy_problem(value):
        raise StepflowError(problem)
    text = codec.encode(value)
    return text, value if type(value) in PLAIN else codec.decode(text)


def recorded(journal: Journal, row: Recorded, codec: Codec[Any]) -> Any:
    """The recorded value; raises the recorded failure."""
    if row.failed:
        raise failed(journal, row.key, row.text)
    if codec.type is int and row.text.isdecimal():
        return int(row.text)
    try:
        return codec.decode(row.text)
    except CodecError as error:
        raise journal.wrong(CodecError(f"{journal.flow}: the recorded value of {row.key!r}: {error}")) from error


def failed(journal: Journal, key: str, text: str) -> Exception:
    """The exception that a recorded failure raises: the same when it is recorded and when it is replayed."""
    journal.failures[key] = error = journal.host.restored(key, text)
    return error


def _taken(
    journal: Journal, key: str, name: str, codec: Codec[Any], found: list[Published]
) -> Generator[Note, Any, None]:
    """Record the last of these events as taken; one that does not fit the type is recorded as a failure."""
    event, seqs = found[-1], tuple(one.seq for one in found)
    journal.events = [one for one in journal.events if one.seq not in seqs]
    try:
        codec.decode(event.payload)
    except CodecError as error:
        refusal = CodecError(f"event {name!r} (id {event.id!r}): {error}")
        failure = journal.host.stored(refusal)
        yield Note(key, "event", name, failure, failed=True, consume=seqs)
        raise failed(journal, key, failure) from None
    yield Note(key, "event", name, event.payload, consume=seqs)
