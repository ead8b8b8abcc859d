"""What a claim costs in a session that was there before its backlog, in every order of rows, vacuum, analyze and truncate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import psycopg

from tests.postgres.hot import FLOWS, NOW, Hot, fill, session
from tests.postgres.server import Server
from tests.postgres.test_plans import ORDERS, TABLES, prepare

MANY, CLAIMS = 64, 9


def _claims(store: Any) -> float:
    """Milliseconds of a claim of 64 runs: the median."""
    spans = []
    for _claim in range(CLAIMS):
        began = perf_counter()
        assert len(store.claim(FLOWS, NOW, MANY)) == MANY
        spans.append(perf_counter() - began)
    return median(spans) * 1000


def _order(server: Server, order: str, runs: int) -> tuple[float, float, float]:
    """Milliseconds of a claim in a session from before the backlog, in one that is opened now, and in one after an analyze."""
    schema = server.schema()
    url = server.url(schema)
    with psycopg.connect(server.uri, autocommit=True) as admin:
        prepare(order, url, schema, admin)
        with session(url, "early") as store:
            Hot(store, "early").everything(1)
            fill(url, max(runs, 3 * CLAIMS * MANY))
            early = _claims(store)
        with session(url, "stale") as store:
            stale = _claims(store)
        admin.execute(f"vacuum analyze {', '.join(f'{schema}.{name}' for name in TABLES)}")
        with session(url, "usual") as store:
            return early, stale, _claims(store)


@contextmanager
def _server(version: int) -> Iterator[Server]:
    server = Server(version)
    try:
        yield server
    finally:
        server.close()


def measure(folder: Path, *, version: int, runs: int) -> dict[str, Any]:
    """The slowest of all orders, with autovacuum off and on: milliseconds of a claim of 64 runs."""
    found: list[tuple[float, float, float]] = []
    with _server(version) as server:
        for autovacuum in ("off", "on"):
            server.execute(f"alter system set autovacuum = {autovacuum}")
            server.execute("alter system set autovacuum_naptime = '1s'")
            server.execute("select pg_reload_conf()")
            found += [_order(server, order, runs) for order in ORDERS]
    worst = max(max(early, stale) for early, stale, _usual in found)
    usual = median(one for _early, _stale, one in found)
    return {"value": worst, "usual_ms": usual, "steps": len(found), "expected": 2 * len(ORDERS)}
