"""children: what `wf.start_child` and `wf.result` do, given the journal: runs that a workflow starts, and whose ends it waits for.

The start of a child and its journal row are one commit, so a child is started once. The end of a child is an event of its
parent (`stepflow.model.family`); what the child returned is read from its run, and recorded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from stepflow.errors import NotFound, RunCancelled, RunFailed
from stepflow.model.family import LEAVE, ON_PARENT_END, PARENT, child_id, end_event
from stepflow.model.flow import Flow
from stepflow.replay.child_effects import ChildEnd, LookAt, NewRun, Notes, StartChildren
from stepflow.replay.decider import begin, failed, recorded
from stepflow.replay.effects import Note, Suspension
from stepflow.replay.host import Recorded
from stepflow.replay.journal import Journal
from stepflow.replay.results import Failed, Ok
from stepflow.replay.ways import ChildHandle

CHUNK = 100  # children that are started, or read, together


@frozen
class ChildOptions:
    """What the children of one call have in common."""

    leave: bool
    labels: Mapping[str, str]
    priority: int
    run_timeout: Any = None  # as given

    def family(self, parent: str) -> dict[str, str]:
        """The labels that name the parent."""
        return {PARENT: parent, ON_PARENT_END: LEAVE} if self.leave else {PARENT: parent}


async def start_child(journal: Journal, key: str, flow: Flow[Any, Any], value: Any, options: ChildOptions) -> Any:
    """Start one child; its handle."""
    journal.enter("start_child", key)
    row = journal.take("child", key, flow.name)
    if row is None or row.kind != "child":
        await _start(journal, key, row, flow, {key: value}, options)
    elif row.failed:
        raise failed(journal, key, row.text)
    _count, parent = _recorded(journal, row)
    return ChildHandle(child_id(parent, key), flow)


def _recorded(journal: Journal, row: Recorded | None) -> tuple[int, str]:
    """How many children a row started, and of which run: those of a fork may be children of the run that it is of."""
    told = 1 if row is None or row.kind != "child" else json.loads(row.text)
    parent = (journal.parent or journal.run_id) if row is None or row.kind != "child" else journal.run_id
    return (told["count"], told["of"]) if isinstance(told, dict) else (told, parent)


async def start_children(
    journal: Journal, key: str, flow: Flow[Any, Any], values: Sequence[Any], options: ChildOptions
) -> Any:
    """Start a child for each input, some in each commit; their handles. A row is recorded for each commit, with the number of its children."""
    journal.enter("start_children", key)
    keys = [f"{key}[{n}]" for n in range(len(values))]
    journal.enter_items("start_children", keys)
    first, parents = 0, list[str]()
    while first < len(keys):
        row = journal.take("child", keys[first], flow.name)
        if row is None or row.kind != "child":
            some = keys[first : first + CHUNK]
            inputs = dict(zip(some, values[first:], strict=False))
            await _start(journal, keys[first], row, flow, inputs, options)
            first += len(some)
            parents += [journal.parent or journal.run_id] * len(some)
        elif row.failed:
            raise failed(journal, keys[first], row.text)
        else:
            count, parent = _recorded(journal, row)
            first += count
            parents += [parent] * count
    if first > len(keys):
        raise journal.mismatch(f"{first} children of {key!r}", f"{len(keys)} children of {key!r}")
    return [ChildHandle(child_id(parent, one), flow) for parent, one in zip(parents, keys, strict=True)]


async def _start(
    journal: Journal,
    key: str,
    row: Recorded | None,
    flow: Flow[Any, Any],
    inputs: Mapping[str, Any],
    options: ChildOptions,
) -> Any:
    """Start these children and record that; why that is not possible is recorded and raised."""
    await begin(journal, key, row, flow.name)
    refusal: Exception | None
    try:
        runs = [
            NewRun(
                child_id(journal.parent or journal.run_id, one),
                flow.codec.encode_input(value),
                flow.codec.digest(value),
            )
            for one, value in inputs.items()
        ]
    except Exception as error:  # noqa: BLE001 - CodecError, TooLarge, and what user classes raise
        refusal = error
    else:
        text = json.dumps({"count": len(runs), "of": journal.parent}) if journal.parent else str(len(runs))
        note = Note(key, "child", flow.name, text)
        family = options.family(journal.run_id)
        refusal = await journal.perform(
            StartChildren(flow, runs, options.labels, family, options.priority, note, options.run_timeout)
        )
        if refusal is None:
            return
    text = journal.host.stored(refusal)
    await journal.perform(Note(key, "child", flow.name, text, failed=True))
    raise failed(journal, key, text)


async def result(journal: Journal, key: str, child: ChildHandle[Any]) -> Any:
    """The result of a child; raises how it ended otherwise. Suspends the run until the child has ended."""
    journal.enter("result", key)
    row = journal.take("result", key, child.flow.name)
    if row is not None and row.kind == "result":
        return end_value(journal, row, child)
    await begin(journal, key, row, child.flow.name)
    ends: dict[str, ChildEnd] = await journal.perform(LookAt((child.id,)))
    if not ends:
        await forget_events(journal, child)
        raise journal.suspend(Suspension(f"child:{key}", None, events=(end_event(journal.run_id, child.id),)))
    note = end_note(journal, key, child, ends[child.id])
    await journal.perform(note)
    return end_value(journal, note, child)


async def results(journal: Journal, key: str, children: Sequence[ChildHandle[Any]]) -> Any:
    """A result for each child, in order, when all of them have ended. The run is suspended until the last one that is open has."""
    journal.enter("results", key)
    keys = [f"{key}[{n}]" for n in range(len(children))]
    journal.enter_items("results", keys)
    found: dict[str, Ok[Any] | Failed] = {}
    cancelled: Recorded | None = None
    for name, child in zip(keys, children, strict=True):
        row = journal.take_if_there("result", name, child.flow.name)
        if row is not None and row.kind == "result":
            found[name] = _outcome(journal, row, child)
        else:
            cancelled = cancelled or row
    left = [(name, child) for name, child in zip(keys, children, strict=True) if name not in found]
    if left and cancelled is None:
        journal.nothing_left(f"results {key!r}")
    if left:
        await begin(journal, left[0][0], cancelled, left[0][1].flow.name)
    last: ChildHandle[Any] | None = None
    for first in range(0, len(left), CHUNK):
        some = left[first : first + CHUNK]
        ends: dict[str, ChildEnd] = await journal.perform(LookAt(tuple(child.id for _name, child in some)))
        notes = [end_note(journal, name, child, ends[child.id]) for name, child in some if child.id in ends]
        if notes:
            await journal.perform(Notes(notes))
        children_of = dict(some)
        found |= {note.key: _outcome(journal, note, children_of[note.key]) for note in notes}
        last = next((child for _name, child in reversed(some) if child.id not in ends), last)
    if last is not None:
        await forget_events(journal, last)
        raise journal.suspend(Suspension(f"children:{key}", events=(end_event(journal.run_id, last.id),)))
    return [found[name] for name in keys]


def end_note(journal: Journal, key: str, child: ChildHandle[Any], end: ChildEnd) -> Note:
    """The row that records how a child ended; it uses up the events of that."""
    name = end_event(journal.run_id, child.id)
    seqs = tuple(one.seq for one in journal.events if one.name == name)
    journal.events = [one for one in journal.events if one.name != name]
    return Note(key, "result", child.flow.name, end.text, end.status != "completed", seqs)


async def forget_events(journal: Journal, child: ChildHandle[Any]) -> None:
    """Use up the event of an end after which the child was redriven: it would wake the run again and again."""
    name = end_event(journal.run_id, child.id)
    if seqs := tuple(one.seq for one in journal.events if one.name == name):
        journal.events = [one for one in journal.events if one.name != name]
        await journal.perform(Notes([], seqs))


def end_value(journal: Journal, row: Recorded, child: ChildHandle[Any]) -> Any:
    """The recorded result, as the child's flow restores it; raises the recorded end otherwise."""
    if not row.failed:
        return recorded(journal, row, child.flow.result_codec)
    raw = json.loads(row.text)
    error: Exception
    if "type" in raw:
        error = RunFailed(child.id, raw["type"], raw["message"], raw["traceback"], raw.get("step", ""))
    elif raw["status"] == "cancelled":
        error = RunCancelled(f"run {child.id!r} was cancelled")
    else:
        error = NotFound(f"run {child.id!r} was pruned before its result was read: keep runs longer (keep=)")
    journal.failures[row.key] = error
    raise error


def _outcome(journal: Journal, row: Recorded, child: ChildHandle[Any]) -> Ok[Any] | Failed:
    try:
        return Ok(end_value(journal, row, child))
    except Exception as error:
        if not row.failed:
            raise
        return Failed(error)
