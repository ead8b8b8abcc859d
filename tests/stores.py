"""The stores that tests of the engine and of workflows run on: two in each run of the suite, all in the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepflow import MemoryDriver
from stepflow.drivers.port.store import Driver
from stepflow.drivers.sqlite import SqliteDriver

STORES = [
    "memory",
    "sqlite",
    pytest.param("postgres", marks=pytest.mark.soak),
    pytest.param("rocksdb", marks=pytest.mark.soak),
]


def new_store(request: pytest.FixtureRequest, folder: Path) -> Driver:
    """An empty store of the kind that the fixture is asked for."""
    if request.param == "memory":
        return MemoryDriver()
    if request.param == "sqlite":
        return SqliteDriver(folder / "runs.db")
    if request.param == "postgres":
        from stepflow.drivers.postgres import PostgresDriver

        return PostgresDriver(request.getfixturevalue("postgres").empty())
    from stepflow.drivers.rocksdb import RocksdbDriver

    return RocksdbDriver(folder / "runs.rocks")
