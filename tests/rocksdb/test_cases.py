"""The numbered cases of the engine, on the RocksDB driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepflow.drivers.rocksdb import RocksdbDriver
from stepflow.testing.conformance import CrashLaws, EngineCases

pytestmark = pytest.mark.usefixtures("forking")


class Rocksdb:
    @pytest.fixture
    def driver(self, tmp_path: Path) -> RocksdbDriver:
        return RocksdbDriver(tmp_path / "store")


class TestRocksdbCases(Rocksdb, EngineCases, CrashLaws):
    pass


@pytest.mark.soak
class TestRocksdbAtManyMoments(Rocksdb, CrashLaws):
    deaths_per_call = 60
