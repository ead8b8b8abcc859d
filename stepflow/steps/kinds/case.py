"""case: do something only if a condition is true."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from attrs import frozen

from stepflow.steps.kinds.base import Node, Place, Visit
from stepflow.steps.return_value import condition_judge
from stepflow.steps.signature import CONDITION
from stepflow.steps.values import Exit, Hop, Row


@frozen(eq=False)
class Case(Node):
    """Asks `condition` once; runs `body` if it returned True."""

    suffix: ClassVar[str] = "Case"
    condition: Any
    body: Node

    def expand(self, at: Place) -> Iterator[Row | Hop | Visit]:
        inner = at.child("steps")
        exits = (Exit(inner.start, "Case condition is met"), Exit(at.completed, "Case condition is not met"))
        fn = at.function(self.condition, CONDITION)
        yield Row(at.start, at.scope, "case", fn, condition_judge(at.scope, met=0), exits, at.guard)
        yield at.hop(inner.completed, at.completed)
        yield Visit(self.body, inner)
