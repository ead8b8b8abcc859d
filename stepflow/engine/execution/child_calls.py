"""ChildCalls: starts the children of workflows, reads how they ended, cancels those that are open when their parent ends, and reads topics."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any

from attrs import frozen

from stepflow.drivers.port.commit import Commit, Enqueue, Fence, Record
from stepflow.drivers.port.journal import JournalQuery, JournalRow
from stepflow.drivers.port.queries import EndedQuery
from stepflow.drivers.port.store import Store
from stepflow.engine.checks import checked_flow, checked_new_id, checked_run_timeout
from stepflow.engine.clock import Clock
from stepflow.engine.commit.canceller import Canceller
from stepflow.engine.commit.committer import Committer
from stepflow.engine.commit.creation import creation
from stepflow.engine.execution.topic_log import first_message
from stepflow.errors import RunExists, StepflowError
from stepflow.model import outcome as outcomes
from stepflow.model.family import PARENT
from stepflow.model.run_timeout import with_end
from stepflow.replay.branches import marked
from stepflow.replay.child_effects import ChildEnd, FirstMessage, Message, NewRun, StartChildren
from stepflow.replay.effects import Note

_Starting = Generator[Commit | list[str], Any, StepflowError | None]


@frozen
class ChildCalls:
    """What the attempts of one engine need for children and topics; `wake` tells its worker, from any thread, that something is due."""

    store: Store
    clock: Clock
    committer: Committer
    canceller: Canceller
    wake: Callable[[], None]

    async def start(
        self, effect: StartChildren, fence: Fence, commit: Callable[[Commit], Awaitable[list[str]]]
    ) -> StepflowError | None:
        """Start runs and record that; why it is not possible, or None. `commit` answers with the ids that exist already."""
        work = self._starting(effect, fence)
        answer: Any = None
        while True:
            wanted, problem = _next(work, answer)
            if wanted is None:
                return problem
            if isinstance(wanted, list):
                answer = await self.committer.call(self.store.load, wanted)
            else:
                answer = await commit(wanted)

    def start_sync(
        self, effect: StartChildren, fence: Fence, commit: Callable[[Commit], list[str]]
    ) -> StepflowError | None:
        """The same in the thread of a sync workflow."""
        work = self._starting(effect, fence)
        answer: Any = None
        while True:
            wanted, problem = _next(work, answer)
            if wanted is None:
                return problem
            answer = self.store.load(wanted) if isinstance(wanted, list) else commit(wanted)

    def _starting(self, effect: StartChildren, fence: Fence) -> _Starting:
        """Start the runs, and record the row; why that is not possible, or None.

        Yields the commit, and receives the ids that exist already; yields these, and receives their records.
        """
        try:
            checked_flow(effect.flow, "start_child")
            limit = checked_run_timeout(effect.flow, effect.run_timeout)
            for run in effect.runs:
                checked_new_id(run.id)
        except StepflowError as problem:
            return problem
        left = {run.id: run for run in effect.runs}
        while True:
            now, priority = self.clock.now(), effect.priority
            labels = with_end({**effect.labels, **effect.family}, limit, now)
            parts = [
                creation(effect.flow, run.text, run.digest, run.id, labels, now, priority, now) for run in left.values()
            ]
            writes = tuple(write for part in parts for write in part.writes)
            queue: tuple[Enqueue, ...] = tuple(row for part in parts for row in part.queue if isinstance(row, Enqueue))
            there: list[str] = yield Commit(fence, writes=writes, queue=queue, journal=(journal_row(effect.note),))
            if not there:
                return None
            records: list[Record | None] = yield there
            for run_id, record in zip(there, records, strict=True):
                if conflict := _conflict(record, left.pop(run_id), effect, self.store.same_input):
                    return RunExists(conflict)

    def recorded(self, run_id: str) -> Sequence[JournalRow]:
        """What the calls of a run have recorded."""
        (rows,) = self.store.read(JournalQuery((run_id,)))
        return rows

    def first_message(self, wanted: FirstMessage) -> Message | None:
        """The first message of a topic that fits, and that is still kept."""
        return first_message(self.store, self.clock.now(), wanted)

    def ends(self, ids: Sequence[str]) -> dict[str, ChildEnd]:
        """How those of these runs ended that are not open."""
        over = self.store.read(EndedQuery(tuple(ids)))
        found = {run_id: _end(record) for run_id, record in zip(over, self.store.load(over), strict=True)}
        return {run_id: end for run_id, end in found.items() if end.status}


def journal_row(note: Note) -> JournalRow:
    """A note as the store takes it."""
    return JournalRow(note.key, marked(note.kind, note.branch), note.name, note.text, note.failed)


def _next(work: _Starting, answer: Any) -> tuple[Commit | list[str] | None, StepflowError | None]:
    """What the start of children wants next, or None and its result."""
    try:
        return work.send(answer), None
    except StopIteration as stop:
        return None, stop.value


def _conflict(record: Record | None, run: NewRun, effect: StartChildren, same_input: Callable[[str, str], bool]) -> str:
    """Why the run that has this id is not the child that is to be started; empty if it is."""
    if record is None:
        return f"child {run.id!r} was started before and pruned, and its id is kept: use another key"
    created = record.created
    if record.state.labels.get(PARENT) != effect.family[PARENT]:
        return f"run {run.id!r}, which is no child of this run, was started before: use another key"
    if created.flow != effect.flow.name:
        return f"child {run.id!r} was started before with flow {created.flow!r}: use another key"
    if not same_input(created.input_hash, run.digest):
        return f"child {run.id!r} was started before with another input: use another key"
    return ""


def _end(record: Record | None) -> ChildEnd:
    if record is None:
        return ChildEnd("missing", '{"status": "missing"}')
    transition, at = record.state.transition, record.state.committed_at
    if transition.status in ("", "completed"):
        return ChildEnd(transition.status, record.exchange, at)
    raw = {"status": transition.status}
    if transition.status == "failed":
        error = outcomes.failure(record.state.id, transition)
        raw |= {"type": error.type, "message": error.message, "traceback": error.traceback, "step": error.step}
    return ChildEnd(transition.status, json.dumps(raw), at)
