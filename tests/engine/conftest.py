"""Stores that outlive their engines, a virtual clock, and an engine on them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from stepflow import Engine
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.store import Driver, Store
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.testing import VirtualClock
from tests.stores import STORES, new_store


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """A shell that runs the tests in the background hands down that SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Driver:
    """A driver; engines that are opened on it one after the other, or side by side, share what it keeps."""
    return new_store(request, tmp_path)


@pytest.fixture
def sqlite(tmp_path: Path) -> SqliteDriver:
    return SqliteDriver(tmp_path / "runs.db")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def engine(store: Driver, clock: VirtualClock) -> Iterator[Engine]:
    with Engine(store, clock=clock) as engine:
        yield engine


@pytest.fixture
def session(store: Driver, clock: VirtualClock) -> Iterator[Callable[[str], Store]]:
    """`session("victim")`: another owner's session on the store, without an engine; closed when the test is over."""
    with ExitStack() as opened:
        yield lambda name: opened.enter_context(closing(store.connect("", Owner(name, "host", 1), clock.now())))
