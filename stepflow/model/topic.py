"""topic: how the messages of a topic are stored, and how the runs that wait for one are found.

A message is a run of the reserved flow `TOPIC`: it is published by its start, which its id makes idempotent, and it stays open while it is
kept. Any worker of workflows advances it: it gives an event to each run that waits for the topic, then sleeps until it is over. The log
of a topic are the open runs that name it in a label, in the order of their creation.

No run misses a message, however the two sides interleave. A run that waits (1) commits the label `waiting_label(topic)`, (2) reads
the log, (3) suspends itself until the event `message_event(topic)`, which the store refuses to do past an event that was published since its claim.
A message (a) is committed to the log, (b) reads which runs have the label, (c) gives them the event. If (2) does not see the message, it came
before (a), so (1) came before (b), and (c) gives the event: before (3), which then does not suspend the run, or after it, which
wakes the run. A process that dies between two of these lets another one begin again with the first: all of them may be repeated.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, ClassVar

from stepflow.model.codec import Codec
from stepflow.model.flow import Flow, FlowOptions, Move
from stepflow.model.state import Transition

TOPIC = "stepflow.topic"  # the flow of messages, and the label that names the topic of a message
UNTIL = "stepflow.until"  # annotation: integer microseconds UTC, until when a message is kept
WAITS = "1"  # value of the label of a run that waits for a topic


def waiting_label(topic: str) -> str:
    """The name of the label of the runs that wait for a message of this topic."""
    return f"{TOPIC}.{topic}"


def message_event(topic: str) -> str:
    """The name of the event by which a run hears of a new message."""
    return f"{TOPIC}:{topic}"


def topic_awaited(event: str) -> str:
    """The topic for which a run waits; empty if the event is another one."""
    return event.removeprefix(f"{TOPIC}:") if event.startswith(f"{TOPIC}:") else ""


def message_id(topic: str, name: str) -> str:
    """The id of the run that is the message of this name."""
    return f"{TOPIC}/{topic.replace('%', '%25').replace('/', '%2F')}/{name}"


def topic_of(message: str) -> str:
    """What the ids of the messages of one topic begin with: `message_id(topic, "")`."""
    return "/".join(message.split("/", 2)[:2]) + "/"


class TopicFlow(Flow[Any, Any]):
    """The flow of all messages; its exchange is the payload."""

    kind: ClassVar[str] = "topic"

    def __init__(self) -> None:
        self.name, self.options, self.inline = TOPIC, FlowOptions(), False
        self.codec: Codec[Any] = Codec(Any, exact=False)
        self.definition = sha256(TOPIC.encode()).hexdigest()

    def __repr__(self) -> str:
        return "<TopicFlow>"

    def first(self) -> Move:
        """The Move of a new message."""
        return Move(Transition(TOPIC), ())

    def resume(self, transition: Transition) -> Move:
        """The Move to the stored transition: a message has no position."""
        return Move(transition, ())


TOPIC_FLOW = TopicFlow()
