"""family: how a run names its parent in its labels, and the event by which the parent hears of its end."""

from __future__ import annotations

from collections.abc import Mapping

from stepflow.model.run_timeout import RUN_ENDS
from stepflow.model.state import UNREAD

RESERVED = "stepflow."  # begins the names of labels and events that only the library gives
PARENT = "stepflow.parent"  # label: the id of the run that started this one as its child
ON_PARENT_END = (
    "stepflow.on_parent_end"  # label: "leave" if the child goes on when its parent ends; else it is cancelled
)
LEAVE, CANCEL = "leave", "cancel"
PARENT_FAILED = "stepflow.parent_failed"  # event: the child is cancelled because its parent failed
_ENDED = "stepflow.child:"
_TOPIC = "stepflow.topic."


def child_id(parent: str, key: str) -> str:
    """The id of the child that a run starts with this key."""
    return f"{parent}/{key}"


def end_event(parent: str, run_id: str) -> str:
    """The name of the event that a parent gets when its child has ended."""
    return _ENDED + (run_id[len(parent) + 1 :] if run_id.startswith(f"{parent}/") else run_id)


def child_awaited(parent: str, event: str) -> str:
    """The id of the child for whose end a run waits; empty if the event is another one."""
    return child_id(parent, event.removeprefix(_ENDED)) if event.startswith(_ENDED) else ""


def reserved(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels that only the library gives."""
    return {name: value for name, value in labels.items() if name.startswith(RESERVED)}


def own_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels without those that name a parent, a topic for which the run waits, or its end, and what stands for unreadable ones."""
    hidden = PARENT, ON_PARENT_END, RUN_ENDS, UNREAD
    return {k: v for k, v in labels.items() if k not in hidden and not k.startswith(_TOPIC)}
