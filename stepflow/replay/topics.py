"""topics: what `wf.wait_for_topic` does, given the journal: it waits for a message that was published once for any number of runs.

`stepflow.model.topic` says how messages and waiting runs find each other. A run takes each message once: what it took is in its journal, and
after `continue_as_new` in an annotation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from stepflow.errors import CodecError, TimedOut
from stepflow.model.codec import Codec, Unopened
from stepflow.model.durations import duration_text
from stepflow.model.topic import WAITS, message_event, waiting_label
from stepflow.replay.child_effects import FirstMessage, Message, Notes
from stepflow.replay.decider import SECOND, begin, failed, interrupted
from stepflow.replay.effects import Note, Suspension
from stepflow.replay.journal import CANCELLED, Journal
from stepflow.replay.ways import TopicWay

Topic = tuple[str, int]
"""The name of a topic, and since when its messages count, microseconds UTC."""


async def wait_for_topic(journal: Journal, key: str, way: TopicWay[Any], limit_s: float | None) -> Any:
    """The payload of the first message that this run has not taken; TimedOut if there is none in time."""
    journal.enter("wait_for_topic", key)
    row, topic = journal.take("topic", key, way.name), way.name
    if row is not None and row.kind == "topic":
        text = json.loads(row.text)[0]
        if row.failed:
            raise failed(journal, key, text)
        return decoded(journal, key, way.codec, text)
    now = journal.host.now()
    rows: list[Note] = []
    if row is None or row.kind == CANCELLED:
        await begin(journal, key, row, topic)
        deadline, since = None if limit_s is None else now + round(limit_s * SECOND), since_of(journal, way, now)
        rows.append(Note(key, "topic_wait", topic, json.dumps([deadline, since])))
    else:
        deadline, since = json.loads(row.text)
    late = deadline is not None and deadline <= now
    journal.topic_waits.append(topic)
    found = await messages(journal, {0: (topic, since)}, deadline, rows, subscribe=not late)
    if found:
        failure, value = take(journal, way.codec, found[0])
        text = json.dumps([failure or found[0].payload, found[0].id, found[0].at])
        await journal.perform(
            Notes([Note(key, "topic", topic, text, failed=bool(failure))], *wait_over(journal, [topic]))
        )
        if failure:
            raise failed(journal, key, failure)
        return value
    if late:
        waited = "in time" if limit_s is None else f"within {duration_text(limit_s)}"
        failure = journal.host.stored(TimedOut(f"{key}: no message of topic {topic!r} {waited}"))
        note = Note(key, "topic", topic, json.dumps([failure]), failed=True)
        await journal.perform(Notes([note], *wait_over(journal, [topic])))
        raise failed(journal, key, failure)
    await interrupted(journal, key, topic)
    await forget_events(journal, [topic])
    raise journal.suspend(Suspension(f"topic:{key}", deadline, tuple(rows), events=(message_event(topic),)))


def since_of(journal: Journal, way: TopicWay[Any], now: int) -> int:
    """Since when the messages of a wait count that begins now."""
    return {"start": journal.start_of(way.name), "now": now}[way.since] if isinstance(way.since, str) else way.since


async def messages(
    journal: Journal, topics: Mapping[int, Topic], deadline: int | None, rows: list[Note], *, subscribe: bool
) -> dict[int, Message]:
    """The first message of each of these topics; if there is none, the run is subscribed, the rows recorded, and looked again."""
    found = await _look(journal, topics, deadline)
    labels = {waiting_label(topic): WAITS for topic, _since in topics.values() if not journal.host.subscribed(topic)}
    if not found and subscribe and labels:
        await journal.perform(Notes(tuple(rows), labels=labels))
        rows.clear()
        found = await _look(journal, topics, deadline)
    return found


async def _look(journal: Journal, topics: Mapping[int, Topic], deadline: int | None) -> dict[int, Message]:
    """The first message of each of these topics, which no other branch has taken when this returns."""
    found: dict[int, Message] = {}
    left = list(topics)
    while left:
        for number in left:
            topic, since = topics[number]
            message = await journal.perform(FirstMessage(topic, since, deadline, journal.taken))
            if message is not None:
                found[number] = message
        left = [number for number, message in found.items() if message.id in journal.taken]
        for number in left:
            del found[number]
    return found


def take(journal: Journal, codec: Codec[Any], message: Message) -> tuple[str, Any]:
    """The message counts as taken: its value, or the stored failure that its payload does not fit the type."""
    journal.taken[message.id] = message.at
    try:
        return "", codec.decode(message.payload)
    except Unopened as error:
        raise journal.wrong(error) from error
    except CodecError as error:
        return journal.host.stored(CodecError(f"message {message.id!r}: {error}")), None


def wait_over(journal: Journal, topics: Sequence[str]) -> tuple[tuple[int, ...], dict[str, str | None]]:
    """A wait for these topics has ended: the seqs of the events to be used up, and the labels to be taken away.

    A topic for which another call of the attempt waits keeps its label.
    """
    for topic in topics:
        journal.topic_waits.remove(topic)
    left = [topic for topic in topics if topic not in journal.topic_waits and journal.host.subscribed(topic)]
    return _heard(journal, topics), {waiting_label(topic): None for topic in left}


async def forget_events(journal: Journal, topics: Sequence[str]) -> None:
    """Use up the events that were there before the log was read: they would wake the run again and again."""
    if seqs := _heard(journal, topics):
        await journal.perform(Notes((), seqs))


def _heard(journal: Journal, topics: Sequence[str]) -> tuple[int, ...]:
    names = {message_event(topic) for topic in topics}
    seqs = tuple(event.seq for event in journal.events if event.name in names)
    if seqs:
        journal.events = [event for event in journal.events if event.name not in names]
    return seqs


def decoded(journal: Journal, key: str, codec: Codec[Any], text: str) -> Any:
    """The recorded payload of a message; one that does not fit any more blocks the run."""
    try:
        return codec.decode(text)
    except CodecError as error:
        raise journal.wrong(CodecError(f"{journal.flow}: the recorded value of {key!r}: {error}")) from error
