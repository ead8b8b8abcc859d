"""child_effects: what the calls for children and for labels ask of the attempt, and how a child ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from stepflow.model.flow import Flow
from stepflow.replay.journal import Note


class Notes(NamedTuple):
    """Rows to be made durable together; `consume` are the seqs of more events to be used up."""

    notes: Sequence[Note]
    consume: tuple[int, ...] = ()


class Relabel(NamedTuple):
    """Other labels for the run, None removes one; and the row that records it, in one commit."""

    labels: Mapping[str, str | None]
    note: Note


class NewRun(NamedTuple):
    """A run to be started: its id, and the text and the digest of its input."""

    id: str
    text: str
    digest: str


class StartChildren(NamedTuple):
    """Runs of `flow` to be started, and the row that records it, in one commit; the answer is an error that says why not, or None.

    A run that is there already as it would be started counts as started. `labels` and `priority` are as given, `family` are
    the labels that name the parent.
    """

    flow: Flow[Any, Any]
    runs: Sequence[NewRun]
    labels: Any
    family: Mapping[str, str]
    priority: Any
    note: Note


class LookAt(NamedTuple):
    """Asks how these runs ended: the answer is a dict of ChildEnd by id, of those that are not open."""

    ids: tuple[str, ...]


class ChildEnd(NamedTuple):
    """How a run ended: `status` is the final one, or `missing`. `text` is its result, or JSON that tells why there is none."""

    status: str
    text: str


ChildEffect = Notes | Relabel | StartChildren | LookAt


def in_branch(effect: ChildEffect, path: str) -> ChildEffect:
    """The effect as the branch of this path asks for it."""
    if isinstance(effect, Notes):
        return effect._replace(notes=[note._replace(branch=path) for note in effect.notes])
    return effect if isinstance(effect, LookAt) else effect._replace(note=effect.note._replace(branch=path))
