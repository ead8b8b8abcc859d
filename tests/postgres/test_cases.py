"""The numbered cases of the engine, on the PostgreSQL driver."""

from __future__ import annotations

import pytest

from stepflow.drivers.postgres import PostgresDriver
from stepflow.testing.conformance import CrashLaws, EngineCases
from tests.postgres.server import Server

pytestmark = pytest.mark.usefixtures("forking")


class Postgres:
    @pytest.fixture
    def driver(self, server: Server) -> PostgresDriver:
        return PostgresDriver(server.empty())


class TestPostgresCases(Postgres, EngineCases, CrashLaws):
    deaths_per_call = 2  # each costs several connections


@pytest.mark.soak
class TestPostgresAtManyMoments(Postgres, CrashLaws):
    deaths_per_call = 60


@pytest.mark.soak
class TestOlderPostgresCases(EngineCases, CrashLaws):
    @pytest.fixture
    def driver(self, older_server: Server) -> PostgresDriver:
        return PostgresDriver(older_server.empty())


@pytest.mark.soak
class TestShardedPostgresCases(EngineCases, CrashLaws):
    """Three shards, as on Citus."""

    @pytest.fixture
    def driver(self, server: Server) -> PostgresDriver:
        return PostgresDriver(server.empty("sharded", shards=3))


@pytest.mark.soak
class TestPooledPostgresCases(EngineCases):
    """As behind a pooler that lends its connections for one transaction: no locks of a session, no news."""

    @pytest.fixture
    def driver(self, server: Server) -> PostgresDriver:
        return PostgresDriver(server.empty("pooled", pooler="transaction"))
