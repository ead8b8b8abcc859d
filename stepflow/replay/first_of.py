"""first_of: what `wf.first_of` does, given the journal: it waits for the first of several events, messages, moments and ends of children.

What came first is told by times: of an event that of its publish, of a child that of its last commit. Both have a place in the inbox of
the run, which decides between them. The end of a child whose event was used up before, or is not read yet, and the message of a topic are
put where their times belong.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from stepflow.errors import CodecError, DefinitionError
from stepflow.model.family import end_event
from stepflow.model.topic import message_event
from stepflow.replay import children
from stepflow.replay import topics as topic_calls
from stepflow.replay.child_effects import ChildEnd, LookAt, Message, Notes
from stepflow.replay.decider import begin, failed, interrupted
from stepflow.replay.effects import Note, Suspension
from stepflow.replay.host import Published, Recorded
from stepflow.replay.journal import CANCELLED, Journal
from stepflow.replay.results import First
from stepflow.replay.ways import ChildHandle, EventWay, TimerWay, TopicWay, Way


@frozen
class _Arrival:
    """A way that has ended: its place among the events of the inbox, and its number; the event, the end of the child, or the message."""

    place: float
    index: int
    event: Published | None
    end: ChildEnd | None = None
    message: Message | None = None


async def first_of(journal: Journal, key: str, ways: Sequence[Way[Any]]) -> Any:
    """The First of the ways that ends: the earliest event or end of a child that came before the earliest moment, else that."""
    journal.enter("first_of", key)
    name = _checked(journal, key, ways)
    row = journal.take("first", key, name)
    if row is not None and row.kind == "first":
        return _recorded(journal, row, ways)
    now = journal.host.now()
    if row is None or row.kind == CANCELLED:
        await begin(journal, key, row, name)
        moments = [_moment(journal, way, now) for way in ways]
        rows = [Note(key, "choice", name, json.dumps(moments))]
    else:
        moments, rows, now = json.loads(row.text), [], max(now, journal.woken)
    dues = [(due, n) for n, due in enumerate(moments) if isinstance(ways[n], TimerWay)]
    deadline, late = min(dues, default=(None, 0))
    subscribe = deadline is None or deadline > now
    arrived = await _arrived(journal, ways, moments, deadline, rows, subscribe=subscribe)
    if arrived:
        return await _taken(journal, key, name, ways, arrived)
    if deadline is not None and deadline <= now:
        await journal.perform(_noted(journal, ways, Note(key, "first", name, json.dumps([late, None]))))
        return First(late, None)
    await interrupted(journal, key, name)
    await topic_calls.forget_events(journal, [way.name for way in ways if isinstance(way, TopicWay)])
    awaited = tuple(name for way in ways if (name := _event(journal, way)))
    payloads = {way.name: way.codec for way in ways if isinstance(way, EventWay)}
    raise journal.suspend(Suspension(f"first_of:{key}", deadline, tuple(rows), events=awaited, payloads=payloads))


async def _arrived(
    journal: Journal,
    ways: Sequence[Way[Any]],
    moments: Sequence[int | None],
    deadline: int | None,
    rows: list[Note],
    *,
    subscribe: bool,
) -> list[_Arrival]:
    """The ways that have ended before the deadline; records the rows if it subscribes the run to a topic.

    Other branches go on while this one waits for an answer, and may take an event: the events are looked at last.
    """
    ends: dict[str, ChildEnd] = {}
    if handles := [way for way in ways if isinstance(way, ChildHandle)]:
        ends = await journal.perform(LookAt(tuple(child.id for child in handles)))
        for child in handles:
            if child.id not in ends:
                await children.forget_events(journal, child)
    topics = {n: (way.name, moments[n] or 0) for n, way in enumerate(ways) if isinstance(way, TopicWay)}
    journal.topic_waits += [topic for topic, _since in topics.values()]
    while True:
        arrived, found = _events(journal, ways, deadline) + _ended(journal, ways, ends, deadline), dict[int, Message]()
        if topics:
            waits = subscribe and not arrived
            found = await topic_calls.messages(journal, topics, deadline, rows, subscribe=waits)
            before, arrived = arrived, _events(journal, ways, deadline) + _ended(journal, ways, ends, deadline)
            if before and not arrived and not found:
                continue  # so the run is not subscribed yet
        return arrived + [_Arrival(_place(journal, one.at), n, None, None, one) for n, one in found.items()]


def _moment(journal: Journal, way: Way[Any], now: int) -> int | None:
    """What the first call fixes of a way: when a timer ends, or since when the messages of a topic count."""
    if isinstance(way, TopicWay):
        return topic_calls.since_of(journal, way, now)
    return way.due(now) if isinstance(way, TimerWay) else None


def _place(journal: Journal, at: int) -> float:
    """The place among the events of the inbox of what came at this time."""
    return sum(event.published_at < at for event in journal.events) - 0.5


def _noted(journal: Journal, ways: Sequence[Way[Any]], note: Note) -> Note | Notes:
    """The effect that records the end of the call; it ends the waits for topics, too."""
    topics = [way.name for way in ways if isinstance(way, TopicWay)]
    return Notes([note], *topic_calls.wait_over(journal, topics)) if topics else note


def _event(journal: Journal, way: Way[Any]) -> str:
    """The name of the event by which a way ends; empty if it ends by the time."""
    if isinstance(way, ChildHandle):
        return end_event(journal.run_id, way.id)
    if isinstance(way, TopicWay):
        return message_event(way.name)
    return way.name if isinstance(way, EventWay) else ""


def _checked(journal: Journal, key: str, ways: Sequence[Way[Any]]) -> str:
    """The names of the ways, for the journal; a wrong one blocks the run."""
    problem, names = "", [name for way in ways if (name := _event(journal, way))]
    if wrong := [way for way in ways if not isinstance(way, Way)]:
        problem = f"{wrong[0]!r:.80} cannot be waited for: give wf.event(name, type), wf.timer(duration), wf.topic(name, type) or a child"
    elif not ways:
        problem = "give what to wait for: wf.event(name, type), wf.timer(duration), wf.topic(name, type) or a child"
    elif len(set(names)) < len(names):
        problem = f"{min(names, key=lambda name: (-names.count(name), name))!r} is given twice: give each event, topic and child once"
    if problem:
        raise journal.wrong(DefinitionError(f"{journal.flow}: wf.first_of({key!r}): {problem}"))
    return " | ".join(_event(journal, way) or "timer" for way in ways)


def _events(journal: Journal, ways: Sequence[Way[Any]], deadline: int | None) -> list[_Arrival]:
    """The awaited events that were published before the deadline."""
    numbers = {way.name: n for n, way in enumerate(ways) if isinstance(way, EventWay)}
    return [
        _Arrival(place, numbers[event.name], event)
        for place, event in enumerate(journal.events)
        if event.name in numbers and (deadline is None or event.published_at < deadline)
    ]


def _ended(
    journal: Journal, ways: Sequence[Way[Any]], ends: dict[str, ChildEnd], deadline: int | None
) -> list[_Arrival]:
    """The children that ended before the deadline."""
    found: list[_Arrival] = []
    for index, way in enumerate(ways):
        end = ends.get(way.id) if isinstance(way, ChildHandle) else None
        if end is not None and (deadline is None or end.at < deadline):
            name = _event(journal, way)
            places = [place for place, event in enumerate(journal.events) if event.name == name]
            place = places[0] if places else _place(journal, end.at)
            found.append(_Arrival(place, index, None, end))
    return found


def _recorded(journal: Journal, row: Recorded, ways: Sequence[Way[Any]]) -> First[Any]:
    """What was recorded; raises the recorded failure. That of a child is a list, that of an event a stored error."""
    raw = json.loads(row.text)
    if not isinstance(raw, list):
        raise failed(journal, row.key, row.text)
    index, payload, *_message = raw
    if payload is None:
        return First(index, None)
    way = ways[index]
    if isinstance(way, ChildHandle):
        return First(index, children.end_value(journal, Note(row.key, "first", row.name, payload, row.failed), way))
    if row.failed:
        raise failed(journal, row.key, payload)
    assert isinstance(way, EventWay | TopicWay)
    return First(index, topic_calls.decoded(journal, row.key, way.codec, payload))


async def _taken(journal: Journal, key: str, name: str, ways: Sequence[Way[Any]], arrived: Sequence[_Arrival]) -> Any:
    """Record what came first, and use up its events; an event that does not fit is recorded as a failure."""
    first = min(arrived, key=lambda one: (one.place, one.index))
    way, index = ways[first.index], first.index
    if first.message is not None:
        assert isinstance(way, TopicWay)
        failure, value = topic_calls.take(journal, way.codec, first.message)
        text = json.dumps([index, failure or first.message.payload, first.message.id, first.message.at])
        await journal.perform(_noted(journal, ways, Note(key, "first", name, text, failed=bool(failure))))
        if failure:
            raise failed(journal, key, failure)
        return First(index, value)
    if first.event is None:
        assert isinstance(way, ChildHandle)
        assert first.end is not None
        note = children.end_note(journal, key, way, first.end)
        note = note._replace(kind="first", name=name, text=json.dumps([index, note.text]))
        await journal.perform(_noted(journal, ways, note))
        return _recorded(journal, note, ways)
    assert isinstance(way, EventWay)
    same = [one.event for one in arrived if one.event and one.index == index] if way.latch else [first.event]
    event, seqs = same[-1], tuple(one.seq for one in same)
    journal.events = [one for one in journal.events if one.seq not in seqs]
    try:
        value = way.codec.decode(event.payload)
    except CodecError as error:
        failure = journal.host.stored(CodecError(f"event {event.name!r} (id {event.id!r}): {error}"))
        await journal.perform(_noted(journal, ways, Note(key, "first", name, failure, failed=True, consume=seqs)))
        raise failed(journal, key, failure) from None
    await journal.perform(
        _noted(journal, ways, Note(key, "first", name, json.dumps([index, event.payload]), consume=seqs))
    )
    return First(index, value)
