"""loop_until: do something, at least once, until a condition is true."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from attrs import frozen

from stepflow.steps.kinds.base import Node, Place, Visit
from stepflow.steps.return_value import condition_judge
from stepflow.steps.signature import CONDITION
from stepflow.steps.values import Exit, Hop, Row


@frozen(eq=False)
class LoopUntil(Node):
    """Runs `body`, then asks `condition`; begins again while it returns False."""

    suffix: ClassVar[str] = "LoopUntil"
    condition: Any
    body: Node

    def expand(self, at: Place) -> Iterator[Row | Hop | Visit]:
        inner = at.child("steps")
        exits = (Exit(inner.start, "LoopUntil condition is not met"), Exit(at.completed, "LoopUntil condition is met"))
        fn = at.function(self.condition, CONDITION)
        yield at.hop(at.start, inner.start)
        yield Row(inner.completed, at.scope, "loop_until", fn, condition_judge(at.scope, met=1), exits, at.guard)
        yield Visit(self.body, inner)
