"""The numbered cases of the engine, on the memory and the SQLite driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepflow.drivers.memory import MemoryDriver
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.testing.conformance import CrashLaws, EngineCases

pytestmark = pytest.mark.usefixtures("forking")


class TestMemoryCases(EngineCases):
    @pytest.fixture
    def driver(self) -> MemoryDriver:
        return MemoryDriver()


def test_every_number_has_its_case():
    numbers = {int(name.split("_")[2]) for name in dir(EngineCases) if name.startswith("test_case_")}
    assert numbers == set(range(1, 39))


class Sqlite:
    @pytest.fixture
    def driver(self, tmp_path: Path) -> SqliteDriver:
        return SqliteDriver(tmp_path / "store.db")


class TestSqliteCases(Sqlite, EngineCases, CrashLaws):
    pass


@pytest.mark.soak
class TestSqliteAtManyMoments(Sqlite, CrashLaws):
    deaths_per_call = 60
