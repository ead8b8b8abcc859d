"""child_effects: what the calls for children, labels and topics ask of the attempt, and what answers them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from stepflow.model.flow import Flow
from stepflow.model.state import EMPTY
from stepflow.replay.effects import Note


class Notes(NamedTuple):
    """Rows to be made durable together, with other labels of the run; None removes one. `consume` are the seqs of more events to be used up."""

    notes: Sequence[Note]
    consume: tuple[int, ...] = ()
    labels: Mapping[str, str | None] = EMPTY


class NewRun(NamedTuple):
    """A run to be started: its id, and the text and the digest of its input."""

    id: str
    text: str
    digest: str


class StartChildren(NamedTuple):
    """Runs of `flow` to be started, and the row that records it, in one commit; the answer is an error that says why not, or None.

    A run that is there already as it would be started counts as started. `family` are the labels that name the parent.
    """

    flow: Flow[Any, Any]
    runs: Sequence[NewRun]
    labels: Mapping[str, str]
    family: Mapping[str, str]
    priority: int
    note: Note
    run_timeout: Any = None  # as given; None: that of the flow


class LookAt(NamedTuple):
    """Asks how these runs ended: the answer is a dict of ChildEnd by id, of those that are not open."""

    ids: tuple[str, ...]


class ChildEnd(NamedTuple):
    """How a run ended: `status` is the final one, or `missing`. `text` is its result, or JSON that tells why there is none.

    `at` is when it ended, microseconds UTC; 0 of a missing one.
    """

    status: str
    text: str
    at: int = 0


class FirstMessage(NamedTuple):
    """Asks for the first message of a topic that was published at `since` or later, and before `until`; `taken` are ids to be left out."""

    topic: str
    since: int
    until: int | None
    taken: Collection[str]


class Message(NamedTuple):
    """A message of a topic: the id of its run, when it was published, and its payload as text."""

    id: str
    at: int
    payload: str


ChildEffect = Notes | StartChildren | LookAt | FirstMessage


def in_branch(effect: ChildEffect, path: str) -> ChildEffect:
    """The effect as the branch of this path asks for it."""
    if isinstance(effect, Notes):
        return effect._replace(notes=[note._replace(branch=path) for note in effect.notes])
    return (
        effect if isinstance(effect, LookAt | FirstMessage) else effect._replace(note=effect.note._replace(branch=path))
    )
