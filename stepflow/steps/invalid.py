"""Invalid: the node for an argument that is not a fragment; it reports the mistake when the chain is compiled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stepflow.model.flow import Flow
from stepflow.steps.kinds.base import Expand, Node, Scope
from stepflow.steps.quick import frozen

_REMEDY = "give e.g. Steps().do('name', function)"


@frozen(eq=False)
class Invalid(Node):
    """An argument that is not a chain of steps: the compile fails and names its path."""

    given: Any

    def expand(self, at: Scope) -> Iterator[Expand]:
        remedy = "give the chain before compile()" if isinstance(self.given, Flow) else _REMEDY
        at.problem(f"{self.given!r:.200} is not a chain of steps: {remedy}")
        return iter(())
