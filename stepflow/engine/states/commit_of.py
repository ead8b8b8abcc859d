"""Builds the port's Commit from a plan: fence, queue rows, creations, placeholders."""

from __future__ import annotations

from stepflow.drivers.port.commit import Commit, Dequeue, Enqueue, Fence
from stepflow.engine.states.lease import Lease
from stepflow.engine.states.script import ScriptPlan

Queue = tuple[Enqueue | Dequeue, ...]


def build_commit(plan: ScriptPlan, lease: Lease, now: int) -> Commit:
    """The port's commit for this plan; under the claim if it concerns the State that is held, which then leaves its journal behind."""
    rows = queue_of(plan, lease, now)
    fence = lease.fence
    if fence is not None and not _concerns(plan, rows, lease.id):
        fence = None
    commit = commit_of(plan, rows, fence)
    return commit._replace(forget=("",)) if lease.rows and fence is not None else commit


def commit_of(plan: ScriptPlan, rows: Queue, fence: Fence | None = None) -> Commit:
    """The port's commit for this plan and these changes of queue rows."""
    return Commit(
        fence=fence,
        writes=tuple(plan.writes),
        queue=rows,
        delays=tuple(plan.delays),
        data=tuple(plan.data),
        placeholders=tuple(plan.placeholders()),
    )


def _concerns(plan: ScriptPlan, rows: Queue, run_id: str) -> bool:
    written = [write.state.id for write in plan.writes]
    return run_id in written or run_id in [row.id for row in rows]


def queue_of(plan: ScriptPlan, lease: Lease, now: int) -> Queue:
    """What becomes of the queue rows: a parked State has none, nor has one that a delay will wake."""
    rows: list[Enqueue | Dequeue] = []
    woken = woken_by(plan) if plan.delays else ()
    for write in plan.writes:
        state = write.state
        held = lease.fence is not None and lease.id == state.id
        if state.parked or state.id in woken:
            rows.append(Dequeue(state.id))
        elif not held or state.transition.to != lease.to:
            rows.append(Enqueue(state.id, state.transition.to, now, owned=True))
    if lease.fence is not None and lease.id in woken and not any(write.state.id == lease.id for write in plan.writes):
        rows.append(Dequeue(lease.id))
    return tuple(rows)


def woken_by(plan: ScriptPlan) -> set[str]:
    """The States that a delay of this plan will move on."""
    return {delay.state.id for delay in plan.delays if delay.commit}
