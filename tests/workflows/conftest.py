"""Stores that outlive their engines, and a virtual clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepflow import MemoryDriver
from stepflow.drivers.port.store import Driver
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.testing import VirtualClock


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Driver:
    return MemoryDriver() if request.param == "memory" else SqliteDriver(tmp_path / "runs.db")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()
