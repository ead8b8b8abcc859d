"""wait_for: poll a condition until it is true."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from stepflow.model.step_names import WAIT_FOR
from stepflow.steps.kinds.base import Leaf, Scope
from stepflow.steps.quick import frozen
from stepflow.steps.return_value import condition_check
from stepflow.steps.signature import CONDITION
from stepflow.steps.values import HEXAGON, CallTransition, Target

LEAST_S = 0.001


@frozen(eq=False)
class WaitFor(Leaf):
    """Stays at its position while `condition` returns False; `every` and `timeout` are seconds or timedeltas."""

    verb = "wait_for"
    suffix = WAIT_FOR
    label = "wait for "
    shape = HEXAGON

    condition: Any
    every: float | timedelta = 1.0
    timeout: float | timedelta | None = None

    def row(self, at: Scope) -> CallTransition:
        targets = (Target(at.start, "WaitFor condition is not met"), Target(at.completed, "WaitFor condition is met"))
        every_s = at.seconds("every", self.every)
        if every_s is None:
            at.problem("every=None is not a duration: give seconds or a timedelta")
        elif 0 < every_s < LEAST_S:
            at.problem(
                f"every={self.every!r}: give at least {LEAST_S:g} s, or the polls keep the store and a processor busy"
            )
        return CallTransition(
            at.start,
            at.path,
            WaitFor,
            at.function(self.condition, CONDITION),
            condition_check(at.path, met=1),
            targets,
            at.retry_scope,
            poll=0,
            every_s=every_s or 1.0,
            timeout_s=at.seconds("timeout", self.timeout),
        )
