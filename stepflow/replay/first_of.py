"""first_of: what `wf.first_of` does, given the journal: it waits for the first of several events, moments and children."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from attrs import field, frozen

from stepflow.errors import CodecError, DefinitionError
from stepflow.model.codec import Codec
from stepflow.replay.decider import Effects, begin, failed, interrupted
from stepflow.replay.journal import CANCELLED, Journal, Note, Published, Suspension
from stepflow.replay.results import First

T_co = TypeVar("T_co", covariant=True)


@frozen
class Way(Generic[T_co]):
    """One of the ways in which a `first_of` can end, with a T as its value: an event of the name `event`, or a moment.

    `due(now)` is the moment, microseconds UTC, as the first call fixes it. With `latch` the newest event is taken, and the older ones are dropped.
    """

    event: str = ""
    codec: Codec[Any] = field(factory=Codec, eq=False, repr=False)
    due: Callable[[int], int] | None = field(default=None, eq=False, repr=False)
    latch: bool = False

    @property
    def label(self) -> str:
        """What the journal calls it."""
        return self.event or "timer"

    def value(self, payload: str) -> Any:
        """The value of the event that ended it; CodecError if its payload does not fit."""
        return self.codec.decode(payload)


def first_of(journal: Journal, key: str, ways: Sequence[Way[Any]]) -> Effects:
    """The First of the ways that ends: the oldest of the awaited events that came before the earliest moment, else that."""
    journal.enter("first_of", key)
    name = _checked(journal, key, ways)
    row = journal.take("first", key, name)
    if row is not None and row.kind == "first":
        if row.failed:
            raise failed(journal, key, row.text)
        index, payload = json.loads(row.text)
        return First(index, None if payload is None else _recorded(journal, key, ways[index], payload))
    now = journal.host.now()
    if row is None or row.kind == CANCELLED:
        yield from begin(journal, key, row, name)
        moments = [None if way.due is None else way.due(now) for way in ways]
    else:
        moments = json.loads(row.text)
    deadline, late = min([(due, n) for n, due in enumerate(moments) if due is not None], default=(None, 0))
    numbers = {way.event: n for n, way in enumerate(ways) if way.event}
    found = [e for e in journal.events if e.name in numbers and (deadline is None or e.published_at < deadline)]
    if found:
        index = numbers[found[0].name]
        same = [one for one in found if one.name == found[0].name] if ways[index].latch else found[:1]
        return First(index, (yield from _taken(journal, key, name, (index, ways[index]), same)))
    if deadline is not None and deadline <= now:
        yield Note(key, "first", name, json.dumps([late, None]))
        return First(late, None)
    yield from interrupted(journal, key, name)
    rows = () if row is not None else (Note(key, "choice", name, json.dumps(moments)),)
    raise journal.suspend(Suspension(f"first_of:{key}", deadline, rows, events=tuple(numbers)))


def _checked(journal: Journal, key: str, ways: Sequence[Way[Any]]) -> str:
    """The names of the ways, for the journal; a wrong one blocks the run."""
    problem, names = "", [way.event for way in ways if isinstance(way, Way) and way.event]
    if wrong := [way for way in ways if not isinstance(way, Way)]:
        problem = f"{wrong[0]!r:.80} cannot be waited for: give wf.event(name, type), or wf.timer(duration)"
    elif not ways:
        problem = "give what to wait for: wf.event(name, type), wf.timer(duration) or a child"
    elif len(set(names)) < len(names):
        problem = f"{min(names, key=lambda name: (-names.count(name), name))!r} is given twice: give each event once"
    if problem:
        raise journal.wrong(DefinitionError(f"{journal.flow}: wf.first_of({key!r}): {problem}"))
    return " | ".join(way.label for way in ways)


def _recorded(journal: Journal, key: str, way: Way[Any], payload: str) -> Any:
    try:
        return way.value(payload)
    except CodecError as error:
        raise journal.wrong(CodecError(f"{journal.flow}: the recorded value of {key!r}: {error}")) from error


def _taken(journal: Journal, key: str, name: str, chosen: tuple[int, Way[Any]], found: Sequence[Published]) -> Effects:
    """Record the last of these events as taken, and restore its value; one that does not fit is recorded as a failure."""
    (index, way), event, seqs = chosen, found[-1], tuple(one.seq for one in found)
    journal.events = [one for one in journal.events if one.seq not in seqs]
    try:
        value = way.value(event.payload)
    except Exception as error:  # noqa: BLE001 - CodecError, and what a child's end raises
        refusal = (
            CodecError(f"event {event.name!r} (id {event.id!r}): {error}") if isinstance(error, CodecError) else error
        )
        failure = journal.host.stored(refusal)
        yield Note(key, "first", name, failure, failed=True, consume=seqs)
        raise failed(journal, key, failure) from None
    yield Note(key, "first", name, json.dumps([index, event.payload]), consume=seqs)
    return value
