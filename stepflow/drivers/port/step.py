"""The two shapes that most commits have, for which stores have a fast path: a step, and the creation of a run."""

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
from stepflow.errors import StepflowError
from stepflow.model.state import State, Transition


@define(eq=False)
class Step:
    """What most commits are: one write of a claimed run, and perhaps a change of its queue row.

    `id` and `epoch` are those of the fence, `rev` is the revision that the write replaces, not 0. `exchange` is its text if it
    changed, `part` changes the row of this run, `labels_before` is that of a Write. The caller turns it into the
    run's next step as soon as it is answered: a store keeps no reference to it.
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


Member = Commit | Step
"""A member of a batch."""


def answer(member: Member, done: Committed | StepflowError) -> CommitResult:
    """The answer to a member of a batch that was applied as a Commit."""
    return step_numbers(done) if isinstance(member, Step) and isinstance(done, Committed) else done


def step_numbers(done: Committed | StepCommitted) -> StepCommitted:
    """The answer to a Step, which may be that to its Commit."""
    return (done.revs[0], done.committed_at, *done.epochs) if isinstance(done, Committed) else done


def whole(member: Member) -> Commit:
    """The member as a Commit."""
    return member.commit() if isinstance(member, Step) else member


def step_of(member: Member) -> Step | None:
    """The member as a step, if it is one: a fenced write of one run that exists, and nothing else but perhaps its queue row."""
    if isinstance(member, Step):
        return member
    fence, unowned, writes, consume, queue, publish, cancel, delays, data, placeholders, dedup = member
    if not fence or len(writes) != 1 or len(queue) > 1 or unowned or consume or publish or cancel or delays or data:
        return None
    if placeholders or dedup:
        return None
    (run_id, rev, transition, labels, annotations, _then), exchange, _created, before = writes[0]
    part = queue[0] if queue else None
    if run_id != fence.id or rev <= 0 or (part is not None and part.id != run_id):
        return None
    return Step(run_id, fence.epoch, rev, transition, labels, annotations, exchange, part, before)


def is_creation(member: Member) -> bool:
    """Whether this creates one run, with nothing else but perhaps its queue row, which has no owner."""
    if isinstance(member, Step):
        return False
    fence, unowned, writes, consume, queue, publish, cancel, delays, data, placeholders, dedup = member
    if fence or len(writes) != 1 or len(queue) > 1 or unowned or consume or publish or cancel or delays or data:
        return False
    state, created = writes[0].state, writes[0].created
    if placeholders or dedup or state.rev or created is None:
        return False
    if not queue:
        return True
    part = queue[0]
    return isinstance(part, Enqueue) and part.id == state.id and not part.owned
