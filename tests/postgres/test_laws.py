"""The PostgreSQL driver keeps every law, and answers like the memory model."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from stepflow.drivers.port import windows
from stepflow.drivers.port.step import Member
from stepflow.drivers.port.store import Driver, Store
from stepflow.drivers.postgres import PostgresDriver
from stepflow.testing.conformance import DriverLaws, DriverMachine, FastPathMachine, LimitsMachine, ProcessLaws
from stepflow.testing.conformance.kit import NOW
from stepflow.testing.conformance.model.general_path import GeneralPath
from stepflow.testing.conformance.model.sides import Side
from stepflow.testing.conformance.processes import workers as processes
from tests.postgres.server import Server

pytestmark = pytest.mark.usefixtures("forking")


def long_lock_timeouts(store: Store) -> dict[str, str]:
    """What the store can tell of the other owners, once it is sure: it needs a moment to see that one died."""
    for turn in count():
        found = {peer.owner.id: peer.lock for peer in store.beat(NOW, mono=time.monotonic()).peers}
        if "unknown" not in found.values() and ("held" not in found.values() or turn > 3):
            return found
        select.select([], [], [], 0.1)
    raise AssertionError


class TestPostgres(DriverLaws, ProcessLaws):
    @pytest.fixture(autouse=True)
    def lock_timeouts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(processes, "locks", long_lock_timeouts)

    @pytest.fixture
    def driver(self, server: Server) -> PostgresDriver:
        self.server = server
        return PostgresDriver(server.empty())

    def begin(self, driver: Driver) -> Any:
        return psycopg.connect(self.server.uri)


class PostgresMachine(DriverMachine):
    server: Server

    def make_driver(self) -> PostgresDriver:
        return PostgresDriver(self.server.empty())


class ShardedMachine(DriverMachine):
    """Three shards: the same answers, but for the order of claims, which is that of all shards together."""

    server: Server

    def make_driver(self) -> PostgresDriver:
        return PostgresDriver(self.server.empty("sharded", shards=3))

    def commit(self, batches: Callable[[Side], Sequence[Member]]) -> None:
        """Commit one member at a time: the revisions of a batch have the order of its shards, not that of its members."""
        size = len(batches(self.sides[0]))
        for number in range(size):
            super().commit(lambda side, number=number: [batches(side)[number]])  # type: ignore[misc]


class PostgresFastPaths(FastPathMachine):
    server: Server

    def make_model(self) -> Driver:
        return GeneralPath(PostgresDriver(self.server.empty("general")))

    def make_driver(self) -> PostgresDriver:
        return PostgresDriver(self.server.empty())


class PostgresControl(LimitsMachine):
    """Three shards; the order of claims is that of all shards together."""

    server: Server

    def make_driver(self) -> PostgresDriver:
        return PostgresDriver(self.server.empty("sharded", shards=3))


class PostgresWindows(PostgresControl):
    """The same with so few lines and rows at a time that claims look at them in windows."""


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MANY_LINES", 2)
    monkeypatch.setattr(windows, "WINDOW", 1)


@pytest.fixture
def at_the_server(server: Server) -> None:
    for machine in (PostgresMachine, ShardedMachine, PostgresFastPaths, PostgresControl, PostgresWindows):
        machine.server = server


TestPostgresMachine = pytest.mark.usefixtures("at_the_server")(PostgresMachine.TestCase)
TestPostgresMachine.settings = settings(
    max_examples=8, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestShardedMachine = pytest.mark.usefixtures("at_the_server")(ShardedMachine.TestCase)
TestShardedMachine.settings = settings(
    max_examples=5, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestPostgresFastPaths = pytest.mark.usefixtures("at_the_server")(PostgresFastPaths.TestCase)
TestPostgresFastPaths.settings = TestPostgresMachine.settings
TestPostgresControl = pytest.mark.usefixtures("at_the_server")(PostgresControl.TestCase)
TestPostgresControl.settings = TestPostgresMachine.settings
TestPostgresWindows = pytest.mark.usefixtures("at_the_server", "small_windows")(PostgresWindows.TestCase)
TestPostgresWindows.settings = TestPostgresMachine.settings
