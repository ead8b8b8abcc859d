"""From what a script comes to, to the commit that the port takes: queue rows, fences and births."""

from __future__ import annotations

from typing import Any

from stepflow.drivers.port.commit import Commit, Created, Dequeue, Enqueue, Write
from stepflow.engine.states.lease import Lease
from stepflow.engine.states.script import Effects
from stepflow.model.state import State

Queue = tuple[Enqueue | Dequeue, ...]


def build_commit(effects: Effects, lease: Lease, now: int, resolve: Any = None) -> Commit:
    """The port's commit for these effects; under the claim if it concerns the State that is held."""
    rows = queue_of(effects, lease, now)
    mine = {state.id for state in effects.writes} | {row.id for row in rows}
    fence = lease.fence if lease.fence is not None and lease.id in mine else None
    return Commit(
        fence=fence,
        writes=tuple(Write(s, created=born_of(s, now)) for s in effects.writes),
        queue=rows,
        delays=tuple(effects.delays),
        data=tuple(effects.data),
        resolve=resolve,
    )


def born_of(state: State, now: int) -> Created | None:
    """How a State that is written for the first time is born."""
    return None if state.rev else Created(state.transition.to, "", now)


def queue_of(effects: Effects, lease: Lease, now: int) -> Queue:
    """What becomes of the queue rows: a parked State has none, nor has one that a delay will wake."""
    rows: list[Enqueue | Dequeue] = []
    woken = woken_by(effects)
    for state in effects.writes:
        held = lease.fence is not None and lease.id == state.id
        if state.parked or state.id in woken:
            rows.append(Dequeue(state.id))
        elif not held or state.transition.to != lease.to:
            rows.append(Enqueue(state.id, state.transition.to, now, owned=True))
    written = {state.id for state in effects.writes}
    if lease.fence is not None and lease.id in woken - written:
        rows.append(Dequeue(lease.id))
    return tuple(rows)


def woken_by(effects: Effects) -> set[str]:
    """The States that a delay of these effects will move on."""
    return {delay.state.id for delay in effects.delays if delay.commit}
