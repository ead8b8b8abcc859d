"""A tally on PostgreSQL reads only what changed since it counted last, and is exact."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings

from stepflow.drivers.port import tallied
from stepflow.drivers.postgres import PostgresDriver
from stepflow.drivers.postgres.tally import PostgresTally
from stepflow.testing.conformance.kit import NOW, Sessions, creation, ended, make
from tests.drivers.counting import OPERATIONS, Late, check_concurrent_tallies, check_tallies, counts_of
from tests.postgres.hot import Hot, session
from tests.postgres.server import Server

KEEP = PostgresTally._keep


@pytest.fixture(autouse=True, scope="module")
def keeps_all() -> Any:
    """Small stores keep their counts, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tallied, "KEEP_FROM", 0)
        yield


@pytest.mark.parametrize("shards", [1, 3])
@given(operations=OPERATIONS)
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_tally_is_exact(server: Server, shards: int, operations: Sequence[tuple[str, int, str]]) -> None:
    late: Late = []

    def keep_late(one: PostgresTally, *values: Any) -> None:
        late.append(partial(_keep, one, *values))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PostgresTally, "_keep", keep_late)
        check_tallies(PostgresDriver(server.empty(f"tallied{shards}", shards=shards)), operations, late)


def _keep(one: PostgresTally, *values: Any) -> None:
    with one.runner.pool.use() as connection:
        one.connection = connection
        KEEP(one, *values)


def test_tallies_are_exact_while_others_write_and_prune(server: Server) -> None:
    check_concurrent_tallies(PostgresDriver(server.empty()), 15)


def test_a_tally_on_a_standby_keeps_nothing(server: Server) -> None:
    url = server.empty()
    sessions = Sessions(PostgresDriver(url))
    make(sessions.session(), creation("a", due=None, transition=ended()))
    with session(url, "reader") as store:
        with store._runner.pool.use() as connection:  # type: ignore[attr-defined]
            connection.execute("set default_transaction_read_only = on")
        assert counts_of(store, NOW) == {("order", "completed"): 1}
        with store._runner.pool.use() as connection:  # type: ignore[attr-defined]
            connection.execute("set default_transaction_read_only = off")
    with psycopg.connect(server.uri) as connection:
        assert connection.execute("select count(*) from emptied.tallied").fetchone() == (0,)
    sessions.close()


def test_a_tally_does_not_grow_with_the_runs_that_ended(server: Server) -> None:
    schema = server.schema()
    url = server.url(schema)
    costs = []
    with psycopg.connect(server.uri, autocommit=True) as admin, session(url, "counts") as store:
        for first, last in ((0, 500), (500, 5_000)):
            make(store, *[creation(f"r{n}", due=None, transition=ended()) for n in range(first, last)])
            assert counts_of(store, NOW) == {("order", "completed"): last}
            hot = Hot(store, "counts", admin, schema)
            hot.does("tally", lambda: counts_of(store, NOW))
            costs.append(hot.read["tally"])
    assert costs[1] <= 2 * costs[0] + 20
