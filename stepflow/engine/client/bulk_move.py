"""The verb that moves runs of a chain to another position."""

from __future__ import annotations

import json
from typing import Any

from attrs import define

from stepflow.drivers.port.commit import Commit, Record
from stepflow.engine.client.bulk import Verb
from stepflow.engine.client.repair import at_position
from stepflow.errors import StepflowError
from stepflow.model.lifecycle import OPEN, Status
from stepflow.model.state import POSITION, Transition
from stepflow.steps import StepFlow


@define
class MoveVerb(Verb):
    """Let it go on at another position of its chain."""

    flow: StepFlow[Any]
    position: str
    statuses = tuple(Status(name) for name in OPEN if name != Status.RUNNING)

    def plan(self, record: Record, now: int) -> Commit | None:
        """It is due now, there."""
        return at_position(record, self.flow, self.position, now)


def moving(flow: Any, to: Any) -> MoveVerb:
    """The verb for a position that the chain knows."""
    if not isinstance(flow, StepFlow):
        raise StepflowError(
            f"move(..., {flow!r:.80}): give a compiled chain: only its runs have positions that can be chosen"
        )
    strings = [to] if isinstance(to, str) else to
    if not isinstance(strings, list | tuple) or not strings or not all(isinstance(one, str) for one in strings):
        raise StepflowError(f"move(..., to={to!r:.80}): give a position, e.g. 'completed:order/pay'")
    text = json.dumps(strings, ensure_ascii=False, separators=(",", ":"))
    if not flow.resume(Transition(flow.name, {POSITION: text})).tasks:
        raise StepflowError(
            f"move(..., to={to!r:.80}): that is the end of flow {flow.name!r}: there is no step to go on with"
        )
    return MoveVerb(flow, text)
