"""Stores for flow functions, engines on them, and a tracker of visits."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator

import pytest

from stepflow import Engine, MemoryDriver
from stepflow.drivers.port.store import Driver
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.testing import VirtualClock
from stepflow.testing.conformance.cases.kit import Tracker
from tests.drivers.test_sqlite import fast_folder


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest) -> Iterator[Driver]:
    """A driver; engines that are opened on it one after the other, or side by side, share what it keeps."""
    if request.param == "memory":
        yield MemoryDriver()
        return
    folder = fast_folder()
    yield SqliteDriver(folder / "runs.db")
    shutil.rmtree(folder)


@pytest.fixture
def track() -> Tracker:
    return Tracker()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def engine(store: Driver, clock: VirtualClock) -> Iterator[Engine]:
    with Engine(store, clock=clock) as engine:
        yield engine


@pytest.fixture
def calls() -> Counter[str]:
    return Counter()
