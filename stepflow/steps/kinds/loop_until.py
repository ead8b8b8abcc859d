"""loop_until: do something, at least once, until a condition is true."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from attrs import frozen

from stepflow.steps.kinds.base import Expand, Node, Scope
from stepflow.steps.return_value import condition_check
from stepflow.steps.signature import CONDITION
from stepflow.steps.values import CallTransition, StaticTransition, Target


@frozen(eq=False)
class LoopUntil(Node):
    """Runs `body`, then asks `condition`; begins again while it returns False."""

    suffix: ClassVar[str] = "LoopUntil"
    condition: Any
    body: Node

    def expand(self, at: Scope) -> Iterator[CallTransition | StaticTransition | Expand]:
        inner = at.child("steps")
        exits = (
            Target(inner.start, "LoopUntil condition is not met"),
            Target(at.completed, "LoopUntil condition is met"),
        )
        fn = at.function(self.condition, CONDITION)
        yield at.hop(at.start, inner.start)
        yield CallTransition(
            inner.completed, at.scope, "loop_until", fn, condition_check(at.scope, met=1), exits, at.guard
        )
        yield Expand(self.body, inner)
