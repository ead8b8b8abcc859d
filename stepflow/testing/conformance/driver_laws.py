"""DriverLaws: every law of the port in one test class."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stepflow.drivers.port.store import Driver
from stepflow.testing.conformance.kit import Sessions
from stepflow.testing.conformance.laws.children import ChildLaws
from stepflow.testing.conformance.laws.claims import ClaimLaws
from stepflow.testing.conformance.laws.commits import CommitLaws
from stepflow.testing.conformance.laws.data import DataLaws
from stepflow.testing.conformance.laws.delays import DelayLaws
from stepflow.testing.conformance.laws.deltas import DeltaLaws
from stepflow.testing.conformance.laws.events import EventLaws
from stepflow.testing.conformance.laws.inbox import InboxLaws
from stepflow.testing.conformance.laws.journal import JournalLaws
from stepflow.testing.conformance.laws.limits import LimitLaws
from stepflow.testing.conformance.laws.lists import ListLaws
from stepflow.testing.conformance.laws.pauses import PauseLaws
from stepflow.testing.conformance.laws.pruning import PruningLaws
from stepflow.testing.conformance.laws.queries import QueryLaws
from stepflow.testing.conformance.laws.records import RecordLaws
from stepflow.testing.conformance.laws.revisions import RevisionLaws
from stepflow.testing.conformance.laws.run_timeouts import RunTimeoutLaws
from stepflow.testing.conformance.laws.schedules import ScheduleLaws
from stepflow.testing.conformance.laws.user_transactions import UserTransactionLaws
from stepflow.testing.conformance.processes.races import RaceLaws


class DriverLaws(
    CommitLaws,
    ClaimLaws,
    EventLaws,
    RecordLaws,
    DeltaLaws,
    ListLaws,
    QueryLaws,
    InboxLaws,
    RaceLaws,
    DelayLaws,
    DataLaws,
    RevisionLaws,
    LimitLaws,
    JournalLaws,
    PruningLaws,
    ChildLaws,
    ScheduleLaws,
    PauseLaws,
    RunTimeoutLaws,
    UserTransactionLaws,
):
    """Subclass it with a fixture `driver` that gives a fresh driver on an empty store."""

    @pytest.fixture
    def sessions(self, driver: Driver) -> Iterator[Sessions]:
        """Sessions on the driver, closed after the test."""
        sessions = Sessions(driver)
        yield sessions
        sessions.close()
