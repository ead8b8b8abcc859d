"""topics: the commit that publishes a message to a topic."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from stepflow.drivers.port.commit import Commit, Created, Enqueue, Write
from stepflow.engine.checks import NAME_BYTES, checked_new_id
from stepflow.engine.client.client import payload_text
from stepflow.engine.clock import microseconds
from stepflow.errors import StepflowError
from stepflow.model.checks import checked_size, topic_problem
from stepflow.model.state import State, Transition
from stepflow.model.topic import TOPIC, UNTIL, message_id

KEEP = timedelta(days=7)
LONGEST = timedelta(days=36_500)


def planned_message(topic: Any, payload: Any, name: str, keep: Any, now: int) -> Commit:
    """The commit that publishes a message, which is the run `message_id(topic, name)`."""
    verb = "publish_topic"
    if not isinstance(topic, str) or not topic:
        raise StepflowError(f"{verb}({topic!r:.80}): name the topic, a non-empty text without NUL")
    if problem := topic_problem(topic):
        raise StepflowError(f"{verb}({topic!r:.80}): {problem}")
    if not isinstance(name, str) or not name:
        raise StepflowError(f"{verb}(..., id={name!r:.80}): give a non-empty text, or leave it out")
    if not isinstance(keep, timedelta) or not timedelta(0) < keep <= LONGEST:
        raise StepflowError(f"{verb}(..., keep={keep!r:.80}): give a timedelta of more than 0 and at most 100 years")
    checked_size("id", name, NAME_BYTES)
    run_id = checked_new_id(message_id(topic, name))
    transition = Transition(TOPIC, {UNTIL: str(now + microseconds(keep))})
    state = State(run_id, 0, transition, {TOPIC: topic}, {}, now)
    write = Write(state, payload_text(payload), Created(TOPIC, "", now))
    return Commit(writes=(write,), queue=(Enqueue(run_id, TOPIC, now, 0),))
