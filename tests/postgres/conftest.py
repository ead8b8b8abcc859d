"""PostgreSQL servers, one per version and test process, stores in fresh schemas, and a bank on each store with transactions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stepflow.drivers.postgres import PostgresDriver
from tests.postgres.banks import Bank, postgres_bank, sqlite_bank
from tests.postgres.server import Server


@pytest.fixture(scope="session")
def server(postgres: Server) -> Server:
    """The newest version."""
    return postgres


@pytest.fixture(scope="session")
def older_server() -> Iterator[Server]:
    server = Server(16)
    yield server
    server.close()


@pytest.fixture
def driver(server: Server) -> PostgresDriver:
    return PostgresDriver(server.url())


@pytest.fixture(params=["sqlite", "postgres"])
def bank(request: pytest.FixtureRequest, tmp_path: Path) -> Bank:
    """A table of the user's in each store that has transactions."""
    if request.param == "sqlite":
        return sqlite_bank(tmp_path / "runs.db")
    return postgres_bank(request.getfixturevalue("server"))
