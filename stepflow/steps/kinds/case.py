"""case: run a group only if a condition is true."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stepflow.model.step_names import BODY, CASE
from stepflow.steps.kinds.base import Expand, Node, Scope
from stepflow.steps.quick import frozen
from stepflow.steps.return_value import condition_check
from stepflow.steps.signature import CONDITION
from stepflow.steps.values import DIAMOND, CallTransition, StaticTransition, Target


@frozen(eq=False)
class Case(Node):
    """Calls `condition` once; runs `body` if it returned True."""

    verb = "case"
    suffix = CASE
    label = "case "
    shape = DIAMOND

    condition: Any
    body: Node

    def expand(self, at: Scope) -> Iterator[CallTransition | StaticTransition | Expand]:
        inner = at.child(BODY)
        targets = (Target(inner.start, "Case condition is met"), Target(at.completed, "Case condition is not met"))
        fn = at.function(self.condition, CONDITION)
        check = condition_check(at.path, met=0)
        yield CallTransition(at.start, at.path, Case, fn, check, targets, at.retry_scope)
        yield at.static(inner.completed, at.completed)
        yield Expand(self.body, inner)
