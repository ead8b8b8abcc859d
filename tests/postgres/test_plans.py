"""What a statement costs does not depend on when its session planned it, nor on what the planner knew of the tables then."""

from __future__ import annotations

import psycopg
import pytest

from stepflow.drivers.port.commit import Commit, Created, Owner, Write
from stepflow.drivers.port.queries import RunQuery
from stepflow.drivers.postgres import PostgresDriver
from stepflow.model.state import State
from tests.drivers import rare
from tests.postgres.hot import ENDED, NOW, Hot, creation, fill, session
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


LISTS = {
    "open": RunQuery(NOW, status="queued"),
    "no open one": RunQuery(NOW, status="waiting"),
    "no failed one": RunQuery(NOW, status="failed"),
    "unknown flow": RunQuery(NOW, flow="nobody.v1"),
    "unknown label": RunQuery(NOW, labels={"half": "c"}),
    "common label": RunQuery(NOW, labels={"half": "a"}),
    "all": RunQuery(NOW),
    "oldest": RunQuery(NOW, ascending=True),
    "several": RunQuery(NOW, status=("failed", "waiting"), scan=100_000),
    "open, bounded": RunQuery(NOW, status="sleeping", open=True, scan=100_000),
    "by id": RunQuery(NOW, order="id", ascending=True),
    "by id, the last": RunQuery(NOW, order="id"),
    "few ids": RunQuery(NOW, prefix="open-1"),
    "due": RunQuery(NOW, order="due", ascending=True),
    "created before all": RunQuery(NOW, until=NOW),
    "these": RunQuery(NOW, ids=("open-1", "open-2", "r00001")),
}


def test_lists_of_few_open_runs_do_not_grow_with_the_others(server: Server) -> None:
    schema = server.schema()
    costs = []
    with psycopg.connect(server.uri, autocommit=True) as admin, session(server.url(schema), "lists") as store:
        rare.fill(store)
        for first, last in ((0, 500), (500, 6_000)):
            rare.sleepers(store, first, last)
            hot = Hot(store, "lists", admin, schema)
            for name, query in rare.QUERIES.items():
                hot.does(name, lambda query=query: store.read(query))
            costs.append(hot.read)
        rare.check(store)
    worse = {name: (costs[0][name], cost) for name, cost in costs[1].items() if cost > 1.5 * costs[0][name] + 20}
    assert not worse


def test_lists_do_not_grow_with_runs_that_ended(server: Server) -> None:
    schema = server.schema()
    url = server.url(schema)
    costs = []
    with psycopg.connect(server.uri, autocommit=True) as admin, session(url, "lists") as store:
        store.commit([creation(f"open-{n}") for n in range(20)], NOW)
        for first, last in ((0, 500), (500, 5_000)):
            states = [State(f"r{n:05}", 0, ENDED, {"half": "ab"[n % 2]}, {}) for n in range(first, last)]
            store.commit([Commit(writes=(Write(state, "1", Created("f.v1", "h", NOW)),)) for state in states], NOW)
            hot = Hot(store, "lists", admin, schema)
            for name, query in LISTS.items():
                hot.does(name, lambda query=query: store.read(query))
            costs.append(hot.read)
    worse = {name: (costs[0][name], cost) for name, cost in costs[1].items() if cost > 3 * costs[0][name] + 20}
    assert not worse
