"""From what a script comes to, to the commit that the port takes: queue rows, fences and births."""

from __future__ import annotations

from typing import Any

from stepflow.drivers.port.commit import Born, Commit, Dequeue, Enqueue, Write
from stepflow.engine.states.lease import Holding
from stepflow.engine.states.script import Effects
from stepflow.model.state import State

Queue = tuple[Enqueue | Dequeue, ...]


def planned(effects: Effects, holding: Holding, now: int, resolve: Any = None) -> Commit:
    """The port's commit for these effects; under the claim if it concerns the State that is held."""
    rows = queue_of(effects, holding, now)
    mine = {state.id for state in effects.writes} | {row.id for row in rows}
    fence = holding.fence if holding.fence is not None and holding.id in mine else None
    return Commit(
        fence=fence,
        writes=tuple(Write(s, born=born_of(s, now)) for s in effects.writes),
        queue=rows,
        delays=tuple(effects.delays),
        data=tuple(effects.data),
        resolve=resolve,
    )


def born_of(state: State, now: int) -> Born | None:
    """How a State that is written for the first time is born."""
    return None if state.rev else Born(state.transition.to, "", now)


def queue_of(effects: Effects, holding: Holding, now: int) -> Queue:
    """What becomes of the queue rows: a parked State has none, nor has one that a delay will wake."""
    rows: list[Enqueue | Dequeue] = []
    woken = woken_by(effects)
    for state in effects.writes:
        held = holding.fence is not None and holding.id == state.id
        if state.parked or state.id in woken:
            rows.append(Dequeue(state.id))
        elif not held or state.transition.to != holding.to:
            rows.append(Enqueue(state.id, state.transition.to, now, owned=True))
    written = {state.id for state in effects.writes}
    if holding.fence is not None and holding.id in woken - written:
        rows.append(Dequeue(holding.id))
    return tuple(rows)


def woken_by(effects: Effects) -> set[str]:
    """The States that a delay of these effects will move on."""
    return {delay.state.id for delay in effects.delays if delay.commit}
