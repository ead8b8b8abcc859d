"""DriverLaws: every law of the port in one test class."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stepflow.drivers.base import Driver
from stepflow.testing.conformance.claims import ClaimLaws
from stepflow.testing.conformance.commits import CommitLaws
from stepflow.testing.conformance.control import ControlLaws
from stepflow.testing.conformance.data import DataLaws
from stepflow.testing.conformance.delays import DelayLaws
from stepflow.testing.conformance.events import EventLaws
from stepflow.testing.conformance.inbox import InboxLaws
from stepflow.testing.conformance.kit import Desk
from stepflow.testing.conformance.queries import QueryLaws
from stepflow.testing.conformance.races import RaceLaws
from stepflow.testing.conformance.records import RecordLaws
from stepflow.testing.conformance.searches import SearchLaws


class DriverLaws(
    CommitLaws,
    ClaimLaws,
    EventLaws,
    RecordLaws,
    QueryLaws,
    InboxLaws,
    RaceLaws,
    DelayLaws,
    DataLaws,
    SearchLaws,
    ControlLaws,
):
    """Subclass it with a fixture `driver` that gives a fresh driver on an empty store."""

    @pytest.fixture
    def desk(self, driver: Driver) -> Iterator[Desk]:
        """Sessions on the driver, closed after the test."""
        desk = Desk(driver)
        yield desk
        desk.close()
