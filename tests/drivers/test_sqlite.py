"""The SQLite driver keeps every law, and answers like the memory model."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from stepflow.drivers.port import windows
from stepflow.drivers.port.store import Driver
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.testing.conformance import DriverLaws, DriverMachine, FastPathMachine, LimitsMachine, ProcessLaws

pytestmark = pytest.mark.usefixtures("forking")


class TestSqlite(DriverLaws, ProcessLaws):
    @pytest.fixture
    def driver(self, tmp_path: Path) -> SqliteDriver:
        return SqliteDriver(tmp_path / "store.db")

    def begin(self, driver: Driver) -> Any:
        assert isinstance(driver, SqliteDriver)
        tx = sqlite3.connect(driver.path)
        tx.execute("BEGIN")
        return tx


class SqliteMachine(DriverMachine):
    def make_driver(self) -> SqliteDriver:
        folder = Path(tempfile.mkdtemp())
        self.folders = [*getattr(self, "folders", ()), folder]
        return SqliteDriver(folder / "store.db")

    def end_driver(self) -> None:
        for folder in getattr(self, "folders", ()):
            shutil.rmtree(folder)


TestSqliteMachine = SqliteMachine.TestCase
TestSqliteMachine.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


class SqliteFastPaths(SqliteMachine, FastPathMachine):
    """The machine that compares SQLite with itself."""


TestSqliteFastPaths = SqliteFastPaths.TestCase
TestSqliteFastPaths.settings = TestSqliteMachine.settings


class SqliteControl(LimitsMachine):
    make_driver, end_driver = SqliteMachine.make_driver, SqliteMachine.end_driver


TestSqliteControl = SqliteControl.TestCase
TestSqliteControl.settings = TestSqliteMachine.settings


class SqliteWindows(SqliteControl):
    """The same with so few lines and rows at a time that claims look at them in windows."""


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MANY_LINES", 2)
    monkeypatch.setattr(windows, "WINDOW", 1)


TestSqliteWindows = pytest.mark.usefixtures("small_windows")(SqliteWindows.TestCase)
TestSqliteWindows.settings = TestSqliteMachine.settings
