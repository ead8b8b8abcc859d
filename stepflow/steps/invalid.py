"""Invalid: stands where a fragment should be; it only tells what was given instead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import frozen

from stepflow.model.flow import Flow
from stepflow.steps.kinds.base import Expand, Node, Scope

_REMEDY = "give e.g. Steps().do('name', function)"


@frozen(eq=False)
class Invalid(Node):
    """Not a fragment at all: the compile fails with its path."""

    given: Any

    def expand(self, at: Scope) -> Iterator[Expand]:
        remedy = "give the chain before compile()" if isinstance(self.given, Flow) else _REMEDY
        at.problem(f"{self.given!r:.200} is no chain of steps: {remedy}")
        return iter(())
