"""wait_event: wait until an event is published to the run, then call a function with its payload."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from stepflow.errors import CodecError
from stepflow.model.checks import event_problem
from stepflow.model.codec import Codec
from stepflow.model.step_names import WAIT_EVENT
from stepflow.steps.exchange import type_problem
from stepflow.steps.kinds.base import Leaf, Scope
from stepflow.steps.quick import frozen
from stepflow.steps.return_value import step_check
from stepflow.steps.signature import THEN
from stepflow.steps.values import PARALLELOGRAM, CallTransition, Target


@frozen(eq=False)
class WaitEvent(Leaf):
    """Calls `then` with the payload of the next event of this name; only an engine delivers events."""

    verb = "wait_event"
    suffix = WAIT_EVENT
    label = "wait for "
    shape = PARALLELOGRAM

    event: Any
    payload: Any
    then: Any
    timeout: float | timedelta | None = None
    latch: bool = False

    def row(self, at: Scope) -> CallTransition:
        if not isinstance(self.event, str) or not self.event.strip():
            at.problem(f"event={self.event!r}: give the event's name, a non-empty text")
        elif problem := event_problem(self.event):
            at.problem(f"event={self.event!r:.80}: {problem}")
        if not isinstance(self.latch, bool):
            at.problem(f"latch={self.latch!r}: give True or False")
        return CallTransition(
            at.start,
            at.path,
            WaitEvent,
            at.function(self.then, THEN),
            step_check(at.path),
            (Target(at.completed, "event received"),),
            at.retry_scope,
            event=str(self.event),
            payload=self._codec(at),
            timeout_s=at.seconds("timeout", self.timeout),
            latch=self.latch,
        )

    def _codec(self, at: Scope) -> Codec[Any]:
        if problem := type_problem(self.payload):
            at.problem(f"type={problem}, e.g. dict")
            return Codec()
        try:
            return Codec(self.payload)
        except CodecError as error:
            at.problem(f"type={self.payload!r} cannot be the type of a payload: {error}")
            return Codec()
