"""do: call a function once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from stepflow.steps.kinds.base import Leaf, Placed, Scope
from stepflow.steps.quick import frozen
from stepflow.steps.return_value import step_check
from stepflow.steps.signature import STEP, TRANSACTION, plain_count
from stepflow.steps.values import BOX, DONE, CallTransition, Target


@frozen(eq=False)
class Do(Leaf):
    """Calls `fn` and completes; `timeout` (seconds or a timedelta) limits each call. With `transaction` it gets a connection of the store.

    With `at_most_once` a call that was interrupted is not repeated.
    """

    verb = "do"
    shape = BOX

    fn: Any
    timeout: float | timedelta | None = None
    transaction: bool = False
    at_most_once: bool = False

    def place(self, at: Scope) -> CallTransition | Placed:
        if self.timeout is None and self.transaction is False and self.at_most_once is False:
            count = plain_count(self.fn, 1)
            if count == 0 or count == 1:
                return Placed(self, at, self.fn, count == 1, at.start, at.retry_scope)
        return self.row(at)

    def row(self, at: Scope) -> CallTransition:
        if not isinstance(self.transaction, bool):
            at.problem(f"transaction={self.transaction!r:.80}: give True or False")
        fn = at.function(self.fn, TRANSACTION if self.transaction else STEP)
        targets = (Target(at.completed, DONE),)
        limit_s = None if self.timeout is None else at.seconds("timeout", self.timeout)
        if not isinstance(self.at_most_once, bool):
            at.problem(f"at_most_once={self.at_most_once!r:.80}: give True or False")
        elif self.at_most_once and self.transaction is True:
            at.problem(
                "transaction=True and at_most_once=True: give one, what a transaction writes is never there twice"
            )
        return CallTransition(
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
