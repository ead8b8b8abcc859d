"""wait_for: ask a condition again and again until it is true."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar

from attrs import frozen

from stepflow.steps.kinds.base import Node, Scope
from stepflow.steps.return_value import condition_check
from stepflow.steps.signature import CONDITION
from stepflow.steps.values import CallTransition, Target


@frozen(eq=False)
class WaitFor(Node):
    """Stays where it is while `condition` returns False; `every` and `timeout` are seconds or timedeltas."""

    suffix: ClassVar[str] = "WaitFor"
    condition: Any
    every: float | timedelta = 1.0
    timeout: float | timedelta | None = None

    def expand(self, at: Scope) -> Iterator[CallTransition]:
        exits = (Target(at.start, "WaitFor condition is not met"), Target(at.completed, "WaitFor condition is met"))
        every_s = at.seconds("every", self.every, zero=True)
        if every_s is None:
            at.problem("every=None is no duration: give seconds or a timedelta")
        yield CallTransition(
            at.start,
            at.scope,
            "wait_for",
            at.function(self.condition, CONDITION),
            condition_check(at.scope, met=1),
            exits,
            at.guard,
            poll=0,
            every_s=every_s or 0.0,
            timeout_s=at.seconds("timeout", self.timeout),
        )
