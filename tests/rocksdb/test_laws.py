"""The RocksDB driver keeps every law, and answers like the memory model."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from stepflow.drivers.rocksdb import RocksdbDriver
from stepflow.testing.conformance import DriverLaws, DriverMachine, FastPathMachine, LimitsMachine

pytestmark = pytest.mark.usefixtures("forking")


class TestRocksdb(DriverLaws):
    @pytest.fixture
    def driver(self, tmp_path: Path) -> RocksdbDriver:
        return RocksdbDriver(tmp_path / "store")


class RocksdbMachine(DriverMachine):
    def make_driver(self) -> RocksdbDriver:
        folder = Path(tempfile.mkdtemp())
        self.folders = [*getattr(self, "folders", ()), folder]
        return RocksdbDriver(folder / "store")

    def end_driver(self) -> None:
        for folder in getattr(self, "folders", ()):
            shutil.rmtree(folder)


TestRocksdbMachine = RocksdbMachine.TestCase
TestRocksdbMachine.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


class RocksdbFastPaths(RocksdbMachine, FastPathMachine):
    """The machine that compares RocksDB with itself."""


TestRocksdbFastPaths = RocksdbFastPaths.TestCase
TestRocksdbFastPaths.settings = TestRocksdbMachine.settings


class RocksdbControl(LimitsMachine):
    make_driver, end_driver = RocksdbMachine.make_driver, RocksdbMachine.end_driver


TestRocksdbControl = RocksdbControl.TestCase
TestRocksdbControl.settings = TestRocksdbMachine.settings
