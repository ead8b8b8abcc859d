"""Plans a commit of one transit or park alone, as most commits are: without working copies and placeholders. Pure."""

from __future__ import annotations

from stepflow.drivers.port.commit import Commit, Created, Dequeue, Enqueue, StepCommitted
from stepflow.drivers.port.step import Step
from stepflow.engine.clock import Clock
from stepflow.engine.states.checks import checked_state_id, copy_of
from stepflow.engine.states.lease import Lease
from stepflow.model import commands as c
from stepflow.model.checks import checked_notes, relabelled
from stepflow.model.ctx import StateCtx
from stepflow.model.state import State, new_tuple, transition_to

NO_CLAIM = 0  # instead of an epoch


def plan_move(command: c.Transit | c.Park, lease: Lease, clock: Clock) -> Step:
    """The step that this command alone is under the lease; what a Script would write. Raises what is wrong with the command."""
    ctx, to, fence = command.ctx, command.to, lease.fence
    run_id, before = ctx.id, None
    committed_id, rev, _transition, labels, annotations, _then = ctx.committed
    if not run_id or run_id != committed_id:
        checked_state_id(run_id)
    if ctx.labels != labels:
        if type(ctx.labels) is not dict:
            ctx = copy_of(ctx)
        before, labels = labels, relabelled(ctx.labels, labels)
    if ctx.annotations != annotations:
        if type(ctx.annotations) is not dict:
            ctx = copy_of(ctx)
        annotations = ctx.annotations.copy()
        checked_notes(annotations)
    epoch = fence.epoch if fence is not None and lease.id == run_id else NO_CLAIM
    part: Enqueue | Dequeue | None = None
    if not to:
        part = Dequeue(run_id)
    elif to != lease.to or not epoch:
        part = Enqueue(run_id, to, clock.now(), owned=True)
    return Step(run_id, epoch, rev, transition_to(to, command.annotations), labels, annotations, None, part, before)


def whole_move(step: Step, now: int) -> Commit:
    """The commit of a step that is none: of a new State, or without a claim."""
    commit = step.commit()
    if not step.rev:
        created = Created(step.transition.to, "", now)
        commit = commit._replace(writes=(commit.writes[0]._replace(created=created, labels_before=None),))
    return commit if step.epoch else commit._replace(fence=None)


def apply_move(ctx: StateCtx, step: Step, done: StepCommitted) -> None:
    """Change the caller's object, given what the store answered."""
    rev, at, transition = done[0], done[1], step.transition
    # As `State(...)`, in a third of its time: 3 % of a function's commit.
    ctx.committed = new_tuple(State, (step.id, rev, transition, step.labels, step.annotations, at))
    ctx.transition, ctx.transitions, ctx.rev, ctx.committed_at = transition, [], rev, at
