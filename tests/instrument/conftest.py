"""What engines tell, collected, and an engine whose steps run one after another on a virtual clock."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stepflow import Engine
from stepflow.testing import VirtualClock
from tests.instrument.told import Told


@pytest.fixture
def told() -> Iterator[Told]:
    told = Told()
    yield told
    told.close()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def engine(told: Told, clock: VirtualClock) -> Iterator[Engine]:
    with Engine("memory://", clock=clock, instrument=told.instrument) as engine:
        yield engine
