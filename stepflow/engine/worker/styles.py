"""The table of authoring styles: which attempt advances a claim, by the kind of its flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from stepflow.drivers.port.commit import Claim, Record
from stepflow.engine.clock import Clock
from stepflow.engine.commit.committer import Committer
from stepflow.engine.execution.attempt import Attempt
from stepflow.engine.execution.child_calls import ChildCalls
from stepflow.engine.execution.executor import Executor
from stepflow.engine.execution.step_attempt import StepAttempt
from stepflow.engine.execution.user_transactions import UserTransactions
from stepflow.engine.execution.workflow_attempt import WorkflowAttempt
from stepflow.engine.states.function_attempt import FunctionAttempt
from stepflow.engine.states.function_runner import FunctionRunner
from stepflow.model.flow import Flow

Styles = Mapping[str, Callable[[Flow[Any, Any], Claim, Record], Attempt]]


def styles(
    clock: Clock,
    committer: Committer,
    executor: Executor,
    transactions: UserTransactions,
    runner: FunctionRunner,
    children: ChildCalls,
    takes_deltas: bool,
) -> Styles:
    """`Flow.kind` -> what makes the attempt for a claim on a run of such a flow; `takes_deltas` is that of the store."""
    return {
        "steps": partial(
            StepAttempt, clock=clock, executor=executor, transactions=transactions, takes_deltas=takes_deltas
        ),
        "workflow": partial(
            WorkflowAttempt,
            clock=clock,
            committer=committer,
            executor=executor,
            transactions=transactions,
            children=children,
        ),
        "function": partial(FunctionAttempt, clock=clock, committer=committer, runner=runner),
    }
