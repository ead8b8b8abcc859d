"""The classes of which a session makes its parts: the plain ones, or those that tell of themselves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from attrs import frozen

from stepflow.drivers.port.store import Store
from stepflow.engine.client.client import Client
from stepflow.engine.clock import Clock
from stepflow.engine.commit.canceller import Canceller
from stepflow.engine.commit.committer import Committer
from stepflow.engine.execution.child_calls import ChildCalls
from stepflow.engine.execution.executor import Executor
from stepflow.engine.instrument import attempts
from stepflow.engine.instrument.client import CountingCanceller, TracedChildCalls, TracedClient
from stepflow.engine.instrument.feed import MeasuredFeed
from stepflow.engine.instrument.metrics import WORKER_SLOTS
from stepflow.engine.instrument.store import MeasuredStore
from stepflow.engine.instrument.telemetry import OpenTelemetry, telemetry_for
from stepflow.engine.states.function_runner import FunctionRunner
from stepflow.engine.states.watch import RevisionFeed
from stepflow.engine.worker.styles import AttemptClasses

PLAIN = AttemptClasses()


def _same(store: Store) -> Store:
    return store


def _untold(slots: int) -> None:
    """Nothing counts the slots of workers."""


@frozen
class Parts:
    """What makes the parts that exist in two forms. An engine without providers has the plain ones, and so pays for nothing.

    `slots` is told how many more runs the workers can advance at the same time.
    """

    store: Callable[[Store], Store] = _same
    executor: Callable[[Clock, Committer], Executor] = Executor
    client: Callable[..., Client] = Client
    canceller: Callable[..., Canceller] = Canceller
    children: Callable[..., ChildCalls] = ChildCalls
    runner: Callable[..., FunctionRunner] = FunctionRunner
    feed: Callable[..., RevisionFeed] = RevisionFeed
    attempts: AttemptClasses = PLAIN
    slots: Callable[[int], None] = _untold


def parts_for(instrument: OpenTelemetry | bool | None, clock: Clock) -> Parts:
    """The parts of an engine that is about to be opened."""
    telemetry = telemetry_for(instrument, clock)
    if telemetry is None:
        return Parts()
    return Parts(
        partial(MeasuredStore, telemetry=telemetry),
        partial(attempts.TracedExecutor, telemetry=telemetry),
        partial(TracedClient, telemetry=telemetry),
        partial(CountingCanceller, telemetry=telemetry),
        partial(TracedChildCalls, telemetry=telemetry),
        partial(attempts.TracedRunner, telemetry=telemetry),
        partial(MeasuredFeed, telemetry=telemetry),
        AttemptClasses(
            attempts.TracedStepAttempt,
            attempts.TracedWorkflowAttempt,
            attempts.TracedAtomicAttempt,
            attempts.TracedFunctionAttempt,
        ),
        partial(telemetry.add, WORKER_SLOTS),
    )
