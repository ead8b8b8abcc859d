"""decider: what each call of a workflow does, given the journal; coroutines that the sync and the async context share.

A coroutine awaits `journal.perform(effect)`: of a StepCall that is `(error, value)` once the value is durable, of a Note it ends when that is durable.
It returns the value of the call, or raises what the workflow shall see. For a sync workflow nothing that it awaits waits, so it runs to its end at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from stepflow.errors import Cancelled, CodecError, DefinitionError, TimedOut
from stepflow.model.codec import Codec
from stepflow.model.durations import duration_text
from stepflow.model.error_text import is_a
from stepflow.model.retry import RetryPolicy
from stepflow.replay.child_effects import Notes
from stepflow.replay.effects import Note, StepCall, Suspension
from stepflow.replay.host import Published, Recorded
from stepflow.replay.journal import CANCELLED, Journal, Suspended
from stepflow.replay.results import UnknownOutcome
from stepflow.replay.step import StepFunction, step_function

SECOND = 1_000_000
DurableCall = Coroutine[Any, Any, Any]


async def execute(
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
) -> Any:
    """Call a step once: the recorded value or failure, else that of the call, which is recorded; a `transaction` with what it writes."""
    journal.enter("execute" if kind == "step" else kind, key)
    step, host = step_of(journal, key, fn, awaits), journal.host
    if kind == "transaction" and (problem := host.transaction_problem(step.is_async)):
        raise journal.wrong(DefinitionError(f"{journal.flow}: wf.transaction({key!r}): {problem}"))
    row = journal.take(kind, key, step.name, renamed)
    if row is not None:
        if row.kind == kind:
            return recorded(journal, row, step.codec)
        if row.kind == "intent":
            return await _resolved(journal, key, step)
    tried, unfinished = 0, journal.unfinished
    if row is not None or host.stop or host.cancel:
        await begin(journal, key, row, step.name)
        tried, unfinished = await _attempts(row, journal)
    if at_most_once:
        await journal.perform(Note(key, "intent", step.name, "null"))
        if host.cancel and not journal.cancelled:  # it came while that was recorded: the call has not begun
            await _cancel(journal, key, step.name)
    while True:
        tried += 1
        raised, value = await journal.perform(
            StepCall(fn, args, step, limit_s, key, tried + unfinished, at_most_once, kind)
        )
        if raised is None:
            return value
        if is_a(raised, Cancelled):
            await _cancel(journal, key, step.name)
        if is_a(raised, UnknownOutcome):
            raise journal.wrong(raised)
        failure = host.stored(raised)
        if retry is None or not retry.allows(tried, raised):
            await journal.perform(Note(key, kind, step.name, failure, failed=True))
            raise failed(journal, key, failure)
        delay = round(retry.delay_s(tried, f"{journal.run_id}/{key}") * SECOND)
        due = host.now() + delay
        text = json.dumps({"attempt": tried, "due": due, "error": failure, "unfinished": unfinished})
        row_kind = "transaction_attempt" if kind == "transaction" else "attempt"
        note, following = Note(key, row_kind, step.name, text), tried + unfinished + 1
        if delay > 0:
            raise journal.suspend(Suspension(f"step:{key}", due, (note,), error=failure, attempt=following))
        await journal.perform(note)
        await interrupted(journal, key, step.name)


async def _resolved(journal: Journal, key: str, step: StepFunction) -> Any:
    """Of a call that was interrupted and must not be made again: record how it ended, as a caller found out; else block the run."""
    await interrupted(journal, key, step.name)
    resolution = journal.resolution
    if resolution is None or resolution["step"] != key:
        raise journal.wrong(UnknownOutcome(key))
    if (failure := resolution["error"]) is not None:
        await journal.perform(Note(key, "step", step.name, failure, failed=True))
        journal.host.settled()
        raise failed(journal, key, failure)
    text = resolution["value"] or "null"
    try:
        value = step.codec.decode(text)
    except CodecError as error:
        why = f"it was resolved, but by a value that does not fit: {error}; so"
        raise journal.wrong(UnknownOutcome(key, why)) from error
    await journal.perform(Note(key, "step", step.name, text))
    journal.host.settled()
    return value


def step_of(journal: Journal, key: str, fn: Callable[..., Any], awaits: bool) -> StepFunction:
    """What there is to know of a step; a wrong one blocks the run."""
    try:
        step = step_function(fn)
        if step.is_async and not awaits:
            raise DefinitionError(f"{step.name} is async: make the workflow an async function")
    except (DefinitionError, CodecError) as error:
        raise journal.wrong(DefinitionError(f"{journal.flow}: step {key!r}: {error}")) from None
    return step


async def sleep_until(journal: Journal, key: str, due: Callable[[int], int], verb: str) -> Any:
    """Sleep until `due(now)`, microseconds UTC, as it was at the first call."""
    journal.enter(verb, key)
    row = journal.take("sleep", key)
    now = journal.host.now()
    if row is not None and row.kind == "sleep":
        if (until := int(row.text)) > max(now, journal.woken):
            await interrupted(journal, key)
            raise journal.suspend(Suspension(f"sleep:{key}", until))
        if until > now:  # a replay shall not sleep again
            await journal.perform(Note(key, "sleep", "", str(now)))
        return
    await begin(journal, key, row)
    note = Note(key, "sleep", "", str(until := due(now)))
    if until > now:
        raise journal.suspend(Suspension(f"sleep:{key}", until, (note,)))
    await journal.perform(note)


async def wait_for_event(
    journal: Journal, key: str, name: str, codec: Codec[Any], limit_s: float | None, latch: bool
) -> Any:
    """The payload of the first event of this name that no wait has taken; TimedOut if there is none in time."""
    journal.enter("wait_for_event", key)
    row = journal.take("event", key, name)
    if row is not None and row.kind == "event":
        return recorded(journal, row, codec)
    now = journal.host.now()
    deadline: int | None = None
    if row is None or row.kind == CANCELLED:
        await begin(journal, key, row, name)
        deadline = None if limit_s is None else now + round(limit_s * SECOND)
    else:
        deadline = json.loads(row.text)
    found = [one for one in journal.events if one.name == name and (deadline is None or one.published_at < deadline)]
    if found:
        await _taken(journal, key, name, codec, found if latch else found[:1])
        return codec.decode(found[-1 if latch else 0].payload)
    if deadline is not None and deadline <= now:
        late = (
            f"no event {name!r} within {duration_text(limit_s)}"
            if limit_s is not None
            else f"no event {name!r} in time"
        )
        failure = journal.host.stored(TimedOut(f"{key}: {late}"))
        await journal.perform(Note(key, "event", name, failure, failed=True))
        raise failed(journal, key, failure)
    await interrupted(journal, key, name)
    rows = () if row is not None else (Note(key, "wait", name, json.dumps(deadline)),)
    raise journal.suspend(Suspension(f"event:{key}", deadline, rows, events=(name,), payloads={name: codec}))


async def drawn(journal: Journal, verb: str, key: str, draw: Callable[[], str], restored: Callable[[str], Any]) -> Any:
    """A value that the outside gives, drawn once as a text, and restored from that."""
    journal.enter(verb, key)
    row = journal.take(verb, key)
    if row is not None and row.kind == verb:
        return restored(row.text)
    await begin(journal, key, row)
    text = draw()
    await journal.perform(Note(key, verb, "", text))
    return restored(text)


async def set_labels(journal: Journal, key: str, labels: Mapping[str, str | None]) -> Any:
    """Change labels of the run once."""
    journal.enter("set_labels", key)
    row = journal.take("labels", key)
    if row is None or row.kind != "labels":
        await begin(journal, key, row)
        await journal.perform(Notes([Note(key, "labels", "", "null")], labels=labels))


async def patched(journal: Journal, key: str) -> Any:
    """Whether new code runs: in runs that come here for the first time, not in those that came by before it was there."""
    journal.enter("patched", key)
    if key in journal.left:
        row = journal.take("patched", key)
        if row is not None and row.kind == CANCELLED:
            await begin(journal, key, row)
        return True
    if journal.unread():
        return False
    await journal.perform(Note(key, "patched", "", "true"))
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


async def begin(journal: Journal, key: str, row: Recorded | None, name: str = "") -> None:
    """Before something new: raise Cancelled as recorded, or end the attempt if that was requested."""
    if row is not None and row.kind == CANCELLED:
        journal.cancelled = True
        raise Cancelled
    if row is None and journal.host.cancel and not journal.cancelled:
        journal.unmade = key, journal.begun
    await interrupted(journal, key, name)


async def interrupted(journal: Journal, key: str, name: str = "") -> None:
    """End the attempt, or raise Cancelled, if that was requested."""
    if journal.host.stop or journal.host.paused or journal.leaving:
        raise journal.suspend(Suspension())
    if not journal.host.cancel:
        return
    if not journal.cancelled:
        await _cancel(journal, key, name)
    if not journal.host.may_undo():
        journal.over = True
        raise journal.suspend(Suspension())


async def _cancel(journal: Journal, key: str, name: str) -> None:
    await journal.perform(Note(key, CANCELLED, name, "null", failed=True))
    journal.cancelled = True
    raise Cancelled


async def _attempts(row: Recorded | None, journal: Journal) -> tuple[int, int]:
    """How many attempts of a step failed, and how many died; ends the attempt of the run if the next one is not due yet."""
    if row is None:
        return 0, journal.unfinished
    raw = json.loads(row.text)
    tried, unfinished = raw["attempt"], raw.get("unfinished", 0) + journal.unfinished
    if raw["due"] > max(journal.host.now(), journal.woken):
        await interrupted(journal, row.key, row.name)
        raise journal.suspend(
            Suspension(f"step:{row.key}", raw["due"], error=raw["error"], attempt=tried + unfinished + 1)
        )
    return tried, unfinished


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


async def _taken(journal: Journal, key: str, name: str, codec: Codec[Any], found: list[Published]) -> None:
    """Record the last of these events as taken; one that does not fit the type is recorded as a failure."""
    event, seqs = found[-1], tuple(one.seq for one in found)
    journal.events = [one for one in journal.events if one.seq not in seqs]
    try:
        codec.decode(event.payload)
    except CodecError as error:
        refusal = CodecError(f"event {name!r} (id {event.id!r}): {error}")
        failure = journal.host.stored(refusal)
        await journal.perform(Note(key, "event", name, failure, failed=True, consume=seqs))
        raise failed(journal, key, failure) from None
    await journal.perform(Note(key, "event", name, event.payload, consume=seqs))
