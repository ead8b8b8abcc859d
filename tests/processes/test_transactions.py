"""A process that is killed anywhere in a transaction: the user's rows and the record of the run are both there, or both absent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stepflow import Engine
from stepflow.drivers.port.journal import JournalQuery
from stepflow.drivers.postgres import PostgresDriver
from stepflow.testing.conformance.kit import Sessions
from tests.postgres.banks import Bank, sqlite_bank
from tests.postgres.conftest import server  # noqa: F401 - a fixture
from tests.processes import payments
from tests.processes.flows import Count
from tests.processes.harness import DEADLINE_S, Child, Nursery

POINTS = 4


@pytest.fixture(params=["sqlite", "postgres"])
def nursery(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Nursery]:
    url = request.getfixturevalue("server").url() if request.param == "postgres" else ""
    nursery = Nursery(tmp_path, url)
    try:
        yield nursery
    finally:
        nursery.close()


@pytest.fixture
def bank(nursery: Nursery, request: pytest.FixtureRequest) -> Bank:
    with Engine(nursery.url):
        pass  # makes the store
    if nursery.url.startswith("sqlite"):
        return sqlite_bank(nursery.path)
    uri = request.getfixturevalue("server").uri
    return Bank(PostgresDriver(nursery.url), lambda: psycopg.connect(uri))


@pytest.mark.parametrize("name", ["each_paid", "all_paid", "chain_paid"])
def test_rows_and_records_are_there_together(nursery: Nursery, bank: Bank, name: str) -> None:
    flow: Any = getattr(payments, name)
    with Engine(nursery.url) as engine:
        engine.start(flow, *([Count()] if name == "chain_paid" else []), id="run")
    for number in range(1, POINTS + 1):
        child = nursery.spawn("until_idle", name, transaction_limit_s=3600)
        for passed in range(1, number + 1):
            if not reached(nursery, child, passed):
                break
            if passed < number or number % 2 == 0:  # every second time it goes on, and dies somewhere behind the point
                nursery.gate.open(1)
        child.kill()
        assert recorded(bank, name) == bank.names()
    nursery.gate.open(2 * POINTS)
    nursery.spawn("until_idle", name, transaction_limit_s=3600).wait()
    with Engine(nursery.url) as engine:
        assert engine.get(flow, "run").status() == "completed"
    assert recorded(bank, name) == bank.names() == ["a", "b"]


def reached(nursery: Nursery, child: Child, number: int) -> bool:
    """Whether the child came to so many points; False if its work ended before that."""
    found = nursery.log.until(
        lambda log: len(log.entries("point", child.name)) >= number or log.entries("idle", child.name) != [], DEADLINE_S
    )
    assert found, child.stacks()
    return len(nursery.log.entries("point", child.name)) >= number


def recorded(bank: Bank, name: str) -> list[str]:
    """What the run says that it wrote."""
    with closing(Sessions(bank.driver)) as sessions:
        store = sessions.session()
        if name == "chain_paid":
            (record,) = store.load(["run"])
            assert record is not None
            return list("ab"[: json.loads(record.exchange)["n"]])
        (rows,) = store.read(JournalQuery(("run",)))
    return sorted(row.key for row in rows)
