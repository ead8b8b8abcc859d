"""Stores that outlive their engines, and a virtual clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepflow.drivers.port.store import Driver
from stepflow.testing import VirtualClock
from tests.stores import STORES, new_store


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Driver:
    return new_store(request, tmp_path)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()
