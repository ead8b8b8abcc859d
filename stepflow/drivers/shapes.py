"""The two shapes that most commits have, for which stores keep a short way: a step, and the birth of a run."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define

from stepflow.drivers.values import Commit, Dequeue, Enqueue, Fence, Write
from stepflow.model.state import State, Transition


@define(eq=False)
class Step:
    """What most commits are: one write of a claimed run, and perhaps a change of its queue row.

    `id` and `epoch` are those of the fence, `rev` is the revision that the write replaces, not 0. `exchange` is its text if it
    changed, `part` changes the row of this run. Whoever made it turns it into the run's next step as soon as it was answered:
    a store keeps no reference to it.
    """

    id: str
    epoch: int
    rev: int
    transition: Transition
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    exchange: str | None = None
    part: Enqueue | Dequeue | None = None

    def commit(self) -> Commit:
        """The same as a Commit."""
        state = State(self.id, self.rev, self.transition, self.labels, self.annotations)
        queue = () if self.part is None else (self.part,)
        return Commit(Fence(self.id, self.epoch), writes=(Write(state, self.exchange),), queue=queue)


Member = Commit | Step
"""A member of a batch."""


def whole(member: Member) -> Commit:
    """The member as a Commit."""
    return member.commit() if isinstance(member, Step) else member


def step_of(member: Member) -> Step | None:
    """The member as a step, if it is one: a fenced write of one run that exists, and nothing else but perhaps its queue row."""
    if isinstance(member, Step):
        return member
    fence, writes, queue = member.fence, member.writes, member.queue
    if fence is None or len(writes) != 1 or len(queue) > 1 or member.publish or member.consume or _is_rich(member):
        return None
    (run_id, rev, transition, labels, annotations, _then), exchange, _born = writes[0]
    part = queue[0] if queue else None
    if run_id != fence.id or rev <= 0 or (part is not None and part.id != run_id):
        return None
    return Step(run_id, fence.epoch, rev, transition, labels, annotations, exchange, part)


def is_birth(member: Member) -> bool:
    """Whether this creates one run, with nothing else but perhaps its queue row, which nobody holds."""
    if isinstance(member, Step) or member.fence or len(member.writes) != 1 or len(member.queue) > 1:
        return False
    if member.publish or member.consume or _is_rich(member):
        return False
    state, _exchange, born = member.writes[0]
    if state.rev or born is None:
        return False
    return all(isinstance(part, Enqueue) and part.id == state.id and not part.owned for part in member.queue)


def _is_rich(commit: Commit) -> bool:
    """Whether it has a part that only commits of other shapes have."""
    return bool(
        commit.unowned or commit.cancel or commit.delays or commit.data or commit.resolve is not None or commit.once
    )
