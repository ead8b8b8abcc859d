"""The numbered cases of the engine, on the PostgreSQL driver."""

from __future__ import annotations

import pytest

from stepflow.drivers.postgres import PostgresDriver
from stepflow.testing.conformance.cases import EngineCases
from tests.postgres.server import Server


class TestPostgresCases(EngineCases):
    @pytest.fixture
    def driver(self, server: Server) -> PostgresDriver:
        return PostgresDriver(server.empty())
