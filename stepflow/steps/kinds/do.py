"""do: call a function once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from attrs import frozen

from stepflow.steps.kinds.base import Node, Scope
from stepflow.steps.return_value import step_check
from stepflow.steps.signature import STEP, TRANSACTION
from stepflow.steps.values import BOX, CallTransition, Target


@frozen(eq=False)
class Do(Node):
    """Calls `fn` and completes; `timeout` (seconds or a timedelta) limits each call. With `transaction` it gets a connection of the store.

    With `at_most_once` a call that was interrupted is not repeated.
    """

    verb = "do"
    shape = BOX

    fn: Any
    timeout: float | timedelta | None = None
    transaction: bool = False
    at_most_once: bool = False

    def expand(self, at: Scope) -> Iterator[CallTransition]:
        if not isinstance(self.transaction, bool):
            at.problem(f"transaction={self.transaction!r:.80}: give True or False")
        fn = at.function(self.fn, TRANSACTION if self.transaction else STEP)
        targets = (Target(at.completed, "completed"),)
        limit_s = at.seconds("timeout", self.timeout)
        if not isinstance(self.at_most_once, bool):
            at.problem(f"at_most_once={self.at_most_once!r:.80}: give True or False")
        elif self.at_most_once and self.transaction is True:
            at.problem(
                "transaction=True and at_most_once=True: give one, what a transaction writes is never there twice"
            )
        yield CallTransition(
            at.start,
            at.path,
            Do,
            fn,
            step_check(at.path),
            targets,
            at.retry_scope,
            limit_s=limit_s,
            transacted=self.transaction,
            at_most_once=self.at_most_once,
        )
