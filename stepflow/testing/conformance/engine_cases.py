"""EngineCases: every numbered case of an engine on a driver in one test class."""

from __future__ import annotations

from stepflow.testing.conformance.cases.children import ChildCases
from stepflow.testing.conformance.cases.commits import CommitCases
from stepflow.testing.conformance.cases.data import DataCases
from stepflow.testing.conformance.cases.execution import ExecutionCases
from stepflow.testing.conformance.cases.fairness import FairnessCases
from stepflow.testing.conformance.cases.iterators import IteratorCases
from stepflow.testing.conformance.cases.matrix import MatrixCases
from stepflow.testing.conformance.cases.reads import ReadCases, WatchCases
from stepflow.testing.conformance.cases.recovery import RecoveryCases
from stepflow.testing.conformance.cases.run_timeouts import RunTimeoutCases
from stepflow.testing.conformance.cases.takeover import TakeoverCases
from stepflow.testing.conformance.cases.timers import TimerCases
from stepflow.testing.conformance.cases.together import TogetherCases
from stepflow.testing.conformance.cases.topics import TopicCases
from stepflow.testing.conformance.cases.workflows import WorkflowCases


class EngineCases(
    ExecutionCases,
    TogetherCases,
    TimerCases,
    DataCases,
    ReadCases,
    WatchCases,
    IteratorCases,
    CommitCases,
    MatrixCases,
    RecoveryCases,
    TakeoverCases,
    FairnessCases,
    WorkflowCases,
    TopicCases,
    ChildCases,
    RunTimeoutCases,
):
    """Subclass it with a fixture `driver` that gives a fresh driver on an empty store."""
