"""Builds the port's Commit from a plan: fence, queue rows, creations, placeholders."""

from __future__ import annotations

from stepflow.drivers.port.commit import Commit, Created, Dequeue, Enqueue, Write
from stepflow.engine.states.lease import Lease
from stepflow.engine.states.script import ScriptPlan
from stepflow.model.state import State

Queue = tuple[Enqueue | Dequeue, ...]


def build_commit(plan: ScriptPlan, lease: Lease, now: int) -> Commit:
    """The port's commit for this plan; under the claim if it concerns the State that is held."""
    rows = queue_of(plan, lease, now)
    mine = {state.id for state in plan.writes} | {row.id for row in rows}
    fence = lease.fence if lease.fence is not None and lease.id in mine else None
    return Commit(
        fence=fence,
        writes=tuple(Write(s, created=born_of(s, now)) for s in plan.writes),
        queue=rows,
        delays=tuple(plan.delays),
        data=tuple(plan.data),
        placeholders=tuple(plan.placeholders()),
    )


def born_of(state: State, now: int) -> Created | None:
    """What is fixed by the first write of a State."""
    return None if state.rev else Created(state.transition.to, "", now)


def queue_of(plan: ScriptPlan, lease: Lease, now: int) -> Queue:
    """What becomes of the queue rows: a parked State has none, nor has one that a delay will wake."""
    rows: list[Enqueue | Dequeue] = []
    woken = woken_by(plan)
    for state in plan.writes:
        held = lease.fence is not None and lease.id == state.id
        if state.parked or state.id in woken:
            rows.append(Dequeue(state.id))
        elif not held or state.transition.to != lease.to:
            rows.append(Enqueue(state.id, state.transition.to, now, owned=True))
    written = {state.id for state in plan.writes}
    if lease.fence is not None and lease.id in woken - written:
        rows.append(Dequeue(lease.id))
    return tuple(rows)


def woken_by(plan: ScriptPlan) -> set[str]:
    """The States that a delay of this plan will move on."""
    return {delay.state.id for delay in plan.delays if delay.commit}
