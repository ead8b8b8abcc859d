"""creation: the commit that creates a run, from the text of its input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepflow.drivers.port.commit import Commit, Created, Enqueue, Write
from stepflow.engine.clock import microseconds
from stepflow.model.flow import Flow
from stepflow.model.state import State


def creation(
    flow: Flow[Any, Any],
    text: str,
    digest: str,
    run_id: str,
    labels: Mapping[str, str],
    due: int,
    priority: int,
    now: int,
    limits: str = "",
) -> Commit:
    """The commit that creates a run of the flow, due at `due`."""
    move = flow.first()
    transition = move.transition
    limits_s = [task.timeout_s for task in move.tasks if task.timeout_s is not None]
    if limits_s:
        transition = transition.with_notes(deadline=str(due + microseconds(min(limits_s))))
    write = Write(State(run_id, 0, transition, labels, {}, now), text, Created(flow.name, digest, now))
    queue = () if not transition.to else (Enqueue(run_id, flow.name, due, priority, limits=limits),)
    return Commit(writes=(write,), queue=queue)
