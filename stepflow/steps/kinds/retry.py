"""retry: when something inside raises, ask a handler or a policy whether to begin the group again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from attrs import frozen

from stepflow.model.retry import RetryPolicy
from stepflow.steps.kinds.base import Expand, Node, Scope
from stepflow.steps.signature import HANDLER
from stepflow.steps.values import RetryScope


@frozen(eq=False)
class Retry(Node):
    """Guards everything in `body`, at any depth; adds no events of its own."""

    suffix: ClassVar[str] = "Retry"
    on_error: Any
    body: Node

    def expand(self, at: Scope) -> Iterator[Expand]:
        policy = self.on_error if isinstance(self.on_error, RetryPolicy) else None
        handler = None if policy else at.function(self.on_error, HANDLER)
        yield Expand(self.body, at.guarded(RetryScope(at.scope, handler, policy, at.guard)))
