"""The table of authoring styles: which attempt advances a claim, by the kind of its flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from attrs import frozen

from stepflow.drivers.port.commit import Claim, Record
from stepflow.engine.clock import Clock
from stepflow.engine.commit.committer import Committer
from stepflow.engine.execution.atomic_attempt import AtomicAttempt
from stepflow.engine.execution.attempt import Attempt, UnreadableAttempt
from stepflow.engine.execution.child_calls import ChildCalls
from stepflow.engine.execution.executor import Executor
from stepflow.engine.execution.host_attempt import HostAttempt
from stepflow.engine.execution.step_attempt import StepAttempt
from stepflow.engine.execution.topic_attempt import TopicAttempt
from stepflow.engine.execution.user_transactions import UserTransactions
from stepflow.engine.execution.workflow_attempt import WorkflowAttempt
from stepflow.engine.states.function_attempt import FunctionAttempt
from stepflow.engine.states.function_runner import FunctionRunner
from stepflow.engine.store_reader import StoreReader
from stepflow.model.flow import Flow
from stepflow.replay.workflow import Workflow


@frozen
class AttemptClasses:
    """The classes of attempts, by what they advance."""

    steps: Callable[..., StepAttempt] = StepAttempt
    workflow: Callable[..., WorkflowAttempt] = WorkflowAttempt
    atomic: Callable[..., AtomicAttempt] = AtomicAttempt
    function: Callable[..., FunctionAttempt] = FunctionAttempt


Styles = Mapping[str, Callable[..., Attempt]]
UNREADABLE = "unreadable"  # the key of the attempt for a run for which no other one can be made


def styles(
    clock: Clock,
    committer: Committer,
    executor: Executor,
    transactions: UserTransactions,
    runner: FunctionRunner,
    children: ChildCalls,
    reader: StoreReader,
    takes_deltas: bool,
    made: AttemptClasses,
) -> Styles:
    """`Flow.kind` -> what makes the attempt for a claim on a run of such a flow; `takes_deltas` is that of the store, `made` the classes of attempts."""
    return {
        "steps": partial(
            made.steps, clock=clock, executor=executor, transactions=transactions, takes_deltas=takes_deltas
        ),
        "workflow": partial(
            _workflow_attempt,
            clock=clock,
            committer=committer,
            executor=executor,
            transactions=transactions,
            children=children,
            made=made,
        ),
        "function": partial(made.function, clock=clock, committer=committer, runner=runner),
        "host": partial(HostAttempt, clock=clock, committer=committer),
        UNREADABLE: partial(UnreadableAttempt, clock=clock, committer=committer),
        "topic": partial(TopicAttempt, clock=clock, committer=committer, reader=reader, wake=children.wake),
    }


def _workflow_attempt(
    flow: Flow[Any, Any], claim: Claim, record: Record, made: AttemptClasses, **parts: Any
) -> Attempt:
    attempt = made.atomic if isinstance(flow, Workflow) and flow.atomic else made.workflow
    return attempt(flow, claim, record, **parts)
