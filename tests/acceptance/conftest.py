"""The two stores of the acceptance list, empty, and an engine with a virtual clock on one of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stepflow import Engine
from stepflow.drivers.port.store import Driver
from stepflow.drivers.postgres import PostgresDriver
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.testing import VirtualClock
from tests.acceptance.flows import CALLS, FLOWS
from tests.postgres.conftest import server as server

Engines = Callable[[int], list[Engine]]
Connect = Callable[[], AbstractContextManager[Any]]


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Driver:
    if request.param == "sqlite":
        return SqliteDriver(tmp_path / "runs.db")
    return PostgresDriver(request.getfixturevalue("server").empty("acceptance"))


@pytest.fixture
def connect(store: Driver, request: pytest.FixtureRequest) -> Connect:
    """Connections of the user's to the store, without a transaction."""
    if isinstance(store, SqliteDriver):
        return lambda: closing(sqlite3.connect(store.path, isolation_level=None))
    uri = request.getfixturevalue("server").uri
    return lambda: closing(psycopg.connect(uri, autocommit=True))


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


@pytest.fixture
def engine(store: Driver, clock: VirtualClock) -> Iterator[Engine]:
    with Engine(store, clock=clock) as engine:
        engine.register(*FLOWS)
        yield engine


@pytest.fixture
def engines(store: Driver, clock: VirtualClock) -> Iterator[Engines]:
    """Several engines on the store, on one virtual clock."""
    with ExitStack() as stack:

        def opened(count: int) -> list[Engine]:
            some = [stack.enter_context(Engine(store, clock=clock)) for _ in range(count)]
            for engine in some:
                engine.register(*FLOWS)
            return some

        yield opened
