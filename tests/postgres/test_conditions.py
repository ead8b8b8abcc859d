"""What `stepflow doctor` sees of a PostgreSQL server."""

from __future__ import annotations

import json

import psycopg

from stepflow.cli.app import run
from stepflow.drivers.postgres import PostgresDriver, conditions
from stepflow.engine.clock import SECOND, SystemClock
from tests.postgres.server import Server

WHATS = [
    "clock difference", "pooler", "long transactions", "statistics", "replication", "write-ahead log", "shards",
    "distribution",
]  # fmt: skip


def _found(driver: PostgresDriver, ahead: int = 0) -> dict[str, tuple[bool, str]]:
    found = driver.maintenance("").conditions(lambda: SystemClock().now() + ahead)
    return {one.what: (one.ok, one.found) for one in found}


def test_a_server_at_rest_is_well(driver: PostgresDriver) -> None:
    found = _found(driver)
    assert list(found) == WHATS
    assert all(ok for ok, _text in found.values())


def test_a_clock_that_differs_is_named(driver: PostgresDriver) -> None:
    ok, text = _found(driver, -300 * SECOND)["clock difference"]
    assert not ok
    assert "s ahead of" in text
    ok, text = _found(driver, 300 * SECOND)["clock difference"]
    assert not ok
    assert "behind" in text


def test_a_long_transaction_is_named(server: Server, driver: PostgresDriver, monkeypatch) -> None:
    monkeypatch.setattr(conditions, "LONG_S", 0.0)
    with psycopg.connect(server.uri, application_name="report") as other:
        other.execute("select 1")
        ok, text = _found(driver)["long transactions"]
        assert not ok
        assert f"{other.info.backend_pid} (" in text
        assert "report, idle in transaction" in text


def test_statistics_that_lag_are_named(driver: PostgresDriver, monkeypatch) -> None:
    monkeypatch.setattr(conditions, "STALE_ROWS", 0)
    monkeypatch.setattr(conditions, "STALE_SHARE", 0.0)  # every table is named, whenever the server counts its rows
    ok, text = _found(driver)["statistics"]
    assert not ok
    assert "rows changed since the last ANALYZE (never)" in text
    assert text.endswith("is autovacuum on?")


def test_a_slot_that_holds_log_back_is_named(server: Server, driver: PostgresDriver, monkeypatch) -> None:
    monkeypatch.setattr(conditions, "KEPT_BYTES", -1)
    server.execute("select pg_create_physical_replication_slot('left_behind', true)")
    try:
        ok, text = _found(driver)["replication"]
    finally:
        server.execute("select pg_drop_replication_slot('left_behind')")
    assert not ok
    assert "slot left_behind (inactive) holds" in text


def test_doctor_prints_them(driver: PostgresDriver, capsys) -> None:
    assert run(["doctor", "--store", driver.url, "--json"]) == 0
    found = {one["what"] for one in json.loads(capsys.readouterr().out)}
    assert set(WHATS) <= found
