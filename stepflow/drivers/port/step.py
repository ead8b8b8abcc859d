"""The shapes that most commits have, for which stores have a fast path: a step, journal rows, and the creation of a run."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define

from stepflow.drivers.port.commit import (
    Commit,
    CommitResult,
    Committed,
    Dequeue,
    Enqueue,
    Fence,
    StepCommitted,
    Write,
)
from stepflow.drivers.port.journal import JournalRow
from stepflow.errors import StepflowError
from stepflow.model.family import PARENT
from stepflow.model.run_timeout import RUN_ENDS
from stepflow.model.state import State, Transition


@define(eq=False)
class Step:
    """What most commits are: one write of a claimed run, and perhaps a change of its queue row.

    `id` and `epoch` are those of the fence, `rev` is the revision that the write replaces, not 0. `exchange` is its text if it
    changed, `part` changes the row of this run, `labels_before` is that of a Write.
    """

    id: str
    epoch: int
    rev: int
    transition: Transition
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    exchange: str | None = None
    part: Enqueue | Dequeue | None = None
    labels_before: Mapping[str, str] | None = None

    def commit(self) -> Commit:
        """The same as a Commit."""
        state = State(self.id, self.rev, self.transition, self.labels, self.annotations)
        queue = () if self.part is None else (self.part,)
        return Commit(
            Fence(self.id, self.epoch), writes=(Write(state, self.exchange, None, self.labels_before),), queue=queue
        )


@define(eq=False)
class Append:
    """Journal rows of a claimed run, and perhaps events that are used up with them: no revision, and no change of a queue row.

    `id` and `epoch` are those of the fence.
    """

    id: str
    epoch: int
    rows: tuple[JournalRow, ...]
    consume: tuple[int, ...] = ()

    def commit(self) -> Commit:
        """The same as a Commit."""
        return Commit(Fence(self.id, self.epoch), consume=self.consume, journal=self.rows)


BEHIND = Commit._fields.index("queue") + 1
NOTHING_BEHIND = Commit()[BEHIND:]

Member = Commit | Step | Append
"""A member of a batch."""


def ends_more(step: Step) -> bool:
    """Whether the step ends a run that has a parent, which is told, or a time limit: fast paths leave it to the rules."""
    return step.transition.status != "" and (PARENT in step.labels or RUN_ENDS in step.labels)


def answer(member: Member, done: Committed | StepflowError) -> CommitResult:
    """The answer to a member of a batch that was applied as a Commit."""
    return step_numbers(done) if isinstance(member, Step) and isinstance(done, Committed) else done


def step_numbers(done: Committed | StepCommitted) -> StepCommitted:
    """The answer to a Step, which may be that to its Commit."""
    return (done.revs[0], done.committed_at, *done.epochs) if isinstance(done, Committed) else done


def committed_of(done: Committed | StepCommitted) -> Committed:
    """The answer to a Commit, which may be that to its Step."""
    return done if isinstance(done, Committed) else Committed(done[:1], epochs=done[2:], committed_at=done[1])


def whole(member: Member) -> Commit:
    """The member as a Commit."""
    return member if isinstance(member, Commit) else member.commit()


def step_of(member: Member) -> Step | None:
    """The member as a step, if it is one: a fenced write of one run that exists, and nothing else but perhaps its queue row."""
    if not isinstance(member, Commit):
        return member if isinstance(member, Step) else None
    fence, write = member.fence, _only_write(member)
    if fence is None or write is None:
        return None
    state, part = write.state, member.queue[0] if member.queue else None
    if state.id != fence.id or state.rev <= 0 or (part is not None and part.id != state.id):
        return None
    maps = state.labels, state.annotations
    return Step(state.id, fence.epoch, state.rev, state.transition, *maps, write.exchange, part, write.labels_before)


def step_of_write(write: Write) -> Step:
    """A write of a run that exists as a step, without the claim."""
    state = write.state
    maps = state.labels, state.annotations
    return Step(state.id, 0, state.rev, state.transition, *maps, write.exchange, None, write.labels_before)


def is_creation(member: Member) -> bool:
    """Whether this creates one run without a time limit, with nothing else but perhaps its queue row, which has no owner."""
    if not isinstance(member, Commit):
        return False
    write = _only_write(member)
    if write is None or write.state.rev or write.created is None or member.fence is not None:
        return False
    if (labels := write.state.labels) and (RUN_ENDS in labels or (write.state.transition.status and PARENT in labels)):
        return False
    part = member.queue[0] if member.queue else None
    return part is None or (isinstance(part, Enqueue) and part.id == write.state.id and not part.owned)


def _only_write(commit: Commit) -> Write | None:
    """The write of a commit that has nothing else but perhaps a fence and one change of a queue row."""
    if len(commit.writes) != 1 or len(commit.queue) > 1 or commit.unowned or commit.consume:
        return None
    return None if commit[BEHIND:] != NOTHING_BEHIND else commit.writes[0]
