"""What a statement costs does not depend on when its session planned it, nor on what the planner knew of the tables then."""

from __future__ import annotations

import psycopg
import pytest

from stepflow.drivers.port.commit import Owner
from stepflow.drivers.postgres import PostgresDriver
from tests.postgres.hot import NOW, Hot, fill, session
from tests.postgres.server import Server

RUNS = 3_000
TABLES = ("states", "history", "queue", "labels", "events", "begun", "owners")
ORDERS = ("new", "vacuumed", "one row", "one row, analyzed", "truncated", "deleted")


def prepare(order: str, url: str, schema: str, admin: psycopg.Connection[tuple[object, ...]]) -> None:
    """Bring the tables into the condition in which the session plans its statements."""
    PostgresDriver(url).connect("", Owner("first", "host", 1), NOW).close()
    tables = [f"{schema}.{name}" for name in TABLES]
    if order == "vacuumed":
        admin.execute(f"vacuum analyze {', '.join(tables)}")
    elif order.startswith("one row"):
        fill(url, 1, name="one")
        admin.execute(f"analyze {', '.join(tables)}" if "analyzed" in order else "select 1")
    elif order in ("truncated", "deleted"):
        fill(url, RUNS, name="before")
        admin.execute(f"vacuum analyze {', '.join(tables)}")
        for table in tables:
            admin.execute(f"{'truncate' if order == 'truncated' else 'delete from'} {table}")
        admin.execute(f"vacuum analyze {', '.join(tables)}" if order == "deleted" else "select 1")


@pytest.mark.parametrize("server_of_version", ["older_server", "server"])
@pytest.mark.parametrize("order", ORDERS)
def test_a_statement_that_was_planned_early_reads_no_more_than_one_that_is_planned_now(
    request: pytest.FixtureRequest, server_of_version: str, order: str
) -> None:
    server: Server = request.getfixturevalue(server_of_version)
    schema = server.schema()
    url = server.url(schema)
    with psycopg.connect(server.uri, autocommit=True) as admin:
        prepare(order, url, schema, admin)
        admin.execute("select pg_stat_force_next_flush()")
        with session(url, "early") as store:
            Hot(store, "warm").everything(1)
            fill(url, RUNS)
            early = Hot(store, "early", admin, schema)
            early.everything(16)
        with session(url, "stale") as store:
            stale = Hot(store, "stale", admin, schema)
            stale.everything(16)
        admin.execute(f"vacuum analyze {', '.join(f'{schema}.{name}' for name in TABLES)}")
        with session(url, "late") as store:
            Hot(store, "again").everything(1)
            usual = Hot(store, "late", admin, schema)
            usual.everything(16)
    for other in (early, stale):
        worse = {what: (n, usual.read[what]) for what, n in other.read.items() if n > 2 * usual.read[what] + 200}
        assert not worse
