"""PostgreSQL servers, one per version and test process, and stores in fresh schemas."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stepflow.drivers.postgres import PostgresDriver
from tests.postgres.server import Server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The newest version."""
    server = Server(18)
    yield server
    server.close()


@pytest.fixture(scope="session")
def older_server() -> Iterator[Server]:
    server = Server(16)
    yield server
    server.close()


@pytest.fixture
def driver(server: Server) -> PostgresDriver:
    return PostgresDriver(server.url())
