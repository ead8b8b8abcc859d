"""The numbered cases of the engine, on the RocksDB driver."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from stepflow.drivers.rocksdb import RocksdbDriver
from stepflow.testing.conformance import CrashLaws, EngineCases
from tests.drivers.test_sqlite import fast_folder


class Rocksdb:
    @pytest.fixture
    def driver(self) -> Iterator[RocksdbDriver]:
        folder = fast_folder()
        yield RocksdbDriver(folder / "store")
        shutil.rmtree(folder)


class TestRocksdbCases(Rocksdb, EngineCases, CrashLaws):
    pass


@pytest.mark.soak
class TestRocksdbAtManyMoments(Rocksdb, CrashLaws):
    deaths_per_call = 60
