"""What a claim costs: in a session that was there before its backlog, in every order of vacuum and analyze, and beside a snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import psycopg

from stepflow.drivers.port.commit import Claim, Dequeue, Record
from stepflow.drivers.port.step import Step
from stepflow.model.limits import Limit, dump
from tests.postgres.hot import ENDED, FLOWS, NOW, Hot, creation, fill, session
from tests.postgres.server import Server
from tests.postgres.test_plans import ORDERS, TABLES, prepare

MANY, CLAIMS = 64, 9
DRAINED = 1_000  # runs that start, are claimed and end together


def _claims(store: Any, claims: int, now: int = NOW) -> float:
    """Milliseconds of a claim of 64 runs: the median."""
    spans = []
    for _claim in range(claims):
        began = perf_counter()
        assert len(store.claim(FLOWS, now, MANY)) == MANY
        spans.append(perf_counter() - began)
    return median(spans) * 1000


def _order(server: Server, order: str, runs: int, claims: int) -> tuple[float, float, float]:
    """Milliseconds of a claim in a session from before the backlog, in one that is opened now, and in one after an analyze."""
    schema = server.schema()
    url = server.url(schema)
    with psycopg.connect(server.uri, autocommit=True) as admin:
        prepare(order, url, schema, admin)
        with session(url, "early") as store:
            Hot(store, "early").everything(1)
            fill(url, max(runs, 3 * claims * MANY))
            early = _claims(store, claims)
        with session(url, "stale") as store:
            stale = _claims(store, claims)
        admin.execute(f"vacuum analyze {', '.join(f'{schema}.{name}' for name in TABLES)}")
        with session(url, "usual") as store:
            return early, stale, _claims(store, claims)


@contextmanager
def _server(version: int) -> Iterator[Server]:
    server = Server(version)
    try:
        yield server
    finally:
        server.close()


def measure(folder: Path, *, version: int, runs: int, claims: int = CLAIMS) -> dict[str, Any]:
    """A claim of 64 runs in the slowest of all orders, with autovacuum off and on, in per cent of a usual one."""
    found: list[tuple[float, float, float]] = []
    with _server(version) as server:
        for autovacuum in ("off", "on"):
            server.execute(f"alter system set autovacuum = {autovacuum}")
            server.execute("alter system set autovacuum_naptime = '1s'")
            server.execute("select pg_reload_conf()")
            found += [_order(server, order, runs, claims) for order in ORDERS]
    worst = max(max(early, stale) for early, stale, _usual in found)
    usual = median(one for _early, _stale, one in found)
    told = {"value": 100 * worst / usual, "slowest_ms": worst, "usual_ms": usual}
    return {**told, "steps": len(found), "expected": 2 * len(ORDERS)}


def beside_a_snapshot(folder: Path, *, version: int, runs: int, keys: int = 0, claims: int = CLAIMS) -> dict[str, Any]:
    """A claim of 64 runs after `runs` others ended while a session held a snapshot, in per cent of one without that session.

    With `keys` the runs have limits, in so many lines.
    """
    with _server(version) as server:
        usual, value = (_drained(server, runs, keys, claims, held=held) for held in (False, True))
    return {"value": 100 * value / usual, "beside_ms": value, "usual_ms": usual, "steps": 2, "expected": 2}


def _drained(server: Server, runs: int, keys: int, claims: int, *, held: bool) -> float:
    schema = server.schema()
    url = server.url(schema)
    with session(url, "worker") as store, psycopg.connect(server.uri) as other:
        if held:
            other.execute("set transaction isolation level repeatable read")
            other.execute(f"select count(*) from {schema}.queue")
        for first in range(0, runs, DRAINED):
            now = NOW + first * 100  # microseconds: 10,000 runs/s
            new = [creation(f"r{n:07}", _limits(n, keys), now) for n in range(first, first + DRAINED)]
            store.commit(new, now)
            claimed = store.claim(FLOWS, now, DRAINED)
            loaded = store.load([claim.fence.id for claim in claimed if claim.record is None])  # as a worker does
            given = iter(loaded)
            rows = [(claim, claim.record or next(given)) for claim in claimed]
            ends = [_end(claim, record) for claim, record in rows if record is not None]
            assert len(ends) == DRAINED
            store.commit(ends, now)
        now = NOW + runs * 100
        store.commit([creation(f"last-{n:05}", _limits(n, keys), now) for n in range(3 * claims * MANY)], now)
        return _claims(store, claims, NOW + runs * 100)


def _limits(number: int, keys: int) -> str:
    return dump([Limit(f"key-{number % keys}", 100_000)]) if keys else ""


def _end(claim: Claim, record: Record) -> Step:
    run_id, labels = claim.fence.id, record.state.labels
    return Step(run_id, claim.fence.epoch, record.state.rev, ENDED, labels, {}, None, Dequeue(run_id))
