"""Stores for flow functions, engines on them, and a tracker of visits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepflow import Engine, MemoryDriver
from stepflow.drivers.port.store import Driver
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.testing import VirtualClock
from stepflow.testing.conformance.cases.kit import Tracker
from tests.flows.book import Book


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Driver:
    """A driver; engines that are opened on it one after the other, or side by side, share what it keeps."""
    return MemoryDriver() if request.param == "memory" else SqliteDriver(tmp_path / "runs.db")


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
def book() -> Book:
    return Book()


@pytest.fixture
def calls() -> Counter[str]:
    return Counter()
