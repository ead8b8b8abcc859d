"""Chain: the persistent list behind Steps; appending a child takes constant time and shares the chain before it."""

from __future__ import annotations

from typing import Any

from stepflow.steps.kinds.sequence import Child
from stepflow.steps.quick import frozen


@frozen(eq=False, repr=False)
class Chain:
    """A root name, an exchange type (None: not declared), and the last child with the chain before it."""

    name: Any
    exchange: Any = None
    child: Child | None = None
    before: Chain | None = None

    def append(self, child: Child) -> Chain:
        """This chain with one more child."""
        return Chain(self.name, self.exchange, child, self)

    def children(self) -> tuple[Child, ...]:
        """All children in order."""
        found = []
        chain: Chain | None = self
        while chain is not None and chain.child is not None:
            found.append(chain.child)
            chain = chain.before
        return tuple(reversed(found))
