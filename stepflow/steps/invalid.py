"""Invalid: stands where a fragment should be; it only tells what was given instead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import frozen

from stepflow.steps.place import Node, Place, Visit


@frozen(eq=False)
class Invalid(Node):
    """Not a fragment at all: the compile fails with its path."""

    given: Any

    def expand(self, at: Place) -> Iterator[Visit]:
        at.problem(f"{self.given!r:.200} is no chain of steps: give e.g. Steps().do('name', function)")
        return iter(())
