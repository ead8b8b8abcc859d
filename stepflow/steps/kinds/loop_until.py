"""loop_until: run a group, at least once, until a condition is true."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stepflow.model.step_names import BODY, LOOP_UNTIL
from stepflow.steps.kinds.base import Expand, Node, Scope
from stepflow.steps.quick import frozen
from stepflow.steps.return_value import condition_check
from stepflow.steps.signature import CONDITION
from stepflow.steps.values import DIAMOND, CallTransition, StaticTransition, Target


@frozen(eq=False)
class LoopUntil(Node):
    """Runs `body`, then calls `condition`; runs `body` again while it returns False."""

    verb = "loop_until"
    suffix = LOOP_UNTIL
    label = "loop until "
    shape = DIAMOND

    condition: Any
    body: Node

    def expand(self, at: Scope) -> Iterator[CallTransition | StaticTransition | Expand]:
        inner = at.child(BODY)
        targets = (
            Target(inner.start, "LoopUntil condition is not met"),
            Target(at.completed, "LoopUntil condition is met"),
        )
        fn = at.function(self.condition, CONDITION)
        check = condition_check(at.path, met=1)
        yield at.static(at.start, inner.start)
        yield CallTransition(inner.completed, at.path, LoopUntil, fn, check, targets, at.retry_scope)
        yield Expand(self.body, inner)
