"""do: call a function once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import frozen

from stepflow.steps.kinds.base import Node, Place
from stepflow.steps.return_value import step_judge
from stepflow.steps.signature import STEP
from stepflow.steps.values import Exit, Row


@frozen(eq=False)
class Do(Node):
    """Calls `fn` and goes on."""

    fn: Any

    def expand(self, at: Place) -> Iterator[Row]:
        fn = at.function(self.fn, STEP)
        yield Row(at.start, at.scope, "do", fn, step_judge(at.scope), (Exit(at.completed, "completed"),), at.guard)
