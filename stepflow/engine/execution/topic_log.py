"""topic_log: reads the log of a topic: its messages that are kept, in the order in which they were published."""

from __future__ import annotations

from attrs import evolve

from stepflow.drivers.port.queries import RunQuery
from stepflow.drivers.port.store import Store
from stepflow.model.topic import TOPIC, UNTIL
from stepflow.replay.child_effects import FirstMessage, Message

PAGE = 200  # messages that are looked at together, without their payloads


def first_message(store: Store, now: int, wanted: FirstMessage) -> Message | None:
    """The first message that fits, None if there is none yet."""
    labels, since, until = {TOPIC: wanted.topic}, wanted.since, wanted.until
    query = RunQuery(now, labels=labels, limit=PAGE, open=True, ascending=True, since=since, until=until)
    while page := store.read(query):
        for found in page:
            if found.state.id in wanted.taken or int(found.state.transition.annotations[UNTIL]) <= now:
                continue
            (record,) = store.load([found.state.id])
            if record is not None and not record.state.transition.status:  # else it is over since
                return Message(record.state.id, record.created.created_at, record.exchange)
        query = evolve(query, after=query.key_of(page[-1]))
    return None
