"""retry: when a step in a group raises, ask a handler or a policy whether to run the group again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stepflow.model.retry import RetryPolicy
from stepflow.model.step_names import RETRY
from stepflow.steps.kinds.base import Expand, Node, Scope
from stepflow.steps.quick import frozen
from stepflow.steps.signature import HANDLER
from stepflow.steps.values import RetryScope


@frozen(eq=False)
class Retry(Node):
    """Handles the errors of every step in `body`, at any depth; adds no positions of its own."""

    verb = "retry"
    suffix = RETRY
    label = "retry "

    on_error: Any
    body: Node

    def expand(self, at: Scope) -> Iterator[Expand]:
        policy = self.on_error if isinstance(self.on_error, RetryPolicy) else None
        handler = None if policy else at.function(self.on_error, HANDLER)
        yield Expand(self.body, at.within(RetryScope(at.path, Retry, handler, policy, at.retry_scope)))
