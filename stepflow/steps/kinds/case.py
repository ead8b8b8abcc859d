"""case: do something only if a condition is true."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from attrs import frozen

from stepflow.steps.kinds.base import Expand, Node, Scope
from stepflow.steps.return_value import condition_check
from stepflow.steps.signature import CONDITION
from stepflow.steps.values import CallTransition, StaticTransition, Target


@frozen(eq=False)
class Case(Node):
    """Asks `condition` once; runs `body` if it returned True."""

    suffix: ClassVar[str] = "Case"
    condition: Any
    body: Node

    def expand(self, at: Scope) -> Iterator[CallTransition | StaticTransition | Expand]:
        inner = at.child("steps")
        exits = (Target(inner.start, "Case condition is met"), Target(at.completed, "Case condition is not met"))
        fn = at.function(self.condition, CONDITION)
        yield CallTransition(at.start, at.scope, "case", fn, condition_check(at.scope, met=0), exits, at.guard)
        yield at.hop(inner.completed, at.completed)
        yield Expand(self.body, inner)
