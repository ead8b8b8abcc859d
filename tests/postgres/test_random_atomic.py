"""Random failures at every point of atomic workflows, several runs at once: the user's rows are those that the runs record."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stepflow import AsyncContext, Context, Engine, RetryPolicy, workflow
from stepflow.drivers.port.journal import JournalQuery
from stepflow.drivers.postgres.session import PostgresStore
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.drivers.sqlite.session import SqliteStore
from stepflow.testing import VirtualClock
from stepflow.testing.conformance.kit import Sessions
from tests.drivers.test_random_transactions import POINTS, Broken, Chaos, until_ended
from tests.postgres.banks import Bank, postgres_bank, sqlite_bank
from tests.postgres.server import Server

CALLS = 3
STEP = RetryPolicy(max_attempts=2, delay=0.5)
RUN = RetryPolicy(max_attempts=2, delay=1)


def schedules(bank: Bank, monkeypatch: pytest.MonkeyPatch, seed: int, runs: int, is_async: bool) -> Counter[str]:
    """So many runs: their steps write a row each, sleep in between, and any of that may fail.

    Counts the runs, the steps that are recorded and those that are not, and what failed.
    """
    chaos = Chaos(seed)

    async def awrite(connection: psycopg.AsyncConnection[Any], name: str) -> str:
        if chaos.fails("before"):
            raise Broken
        await connection.execute("insert into bank values (%s)", (name,))
        if chaos.fails("statement"):
            await connection.execute("insert into nowhere values (1)")
        if chaos.fails("after"):
            raise Broken
        return name

    @workflow("w", atomic=True, retry=RUN)
    def flow(wf: Context, n: int) -> None:
        for call in range(CALLS):
            try:
                wf.execute(f"{n}-{call}", chaos.write, wf.tx, f"{n}-{call}", retry=STEP)
            except Exception:
                if call == 1:
                    raise
            if call == 0:
                wf.sleep("nap", 1)

    @workflow("w", atomic=True, retry=RUN)
    async def aflow(wf: AsyncContext, n: int) -> None:
        for call in range(CALLS):
            try:
                await wf.transaction(f"{n}-{call}", awrite, f"{n}-{call}", retry=STEP)
            except Exception:
                if call == 1:
                    raise
            if call == 0:
                await wf.sleep("nap", 1)

    both: Any = aflow if is_async else flow
    kind = SqliteStore if isinstance(bank.driver, SqliteDriver) else PostgresStore
    with Engine(bank.driver, clock=VirtualClock()) as engine:
        engine.register(both)
        started = [engine.start(both, n, id=f"r{n}") for n in range(runs)]
        with chaos.in_store(monkeypatch, kind):
            until_ended(engine, started)
    with closing(Sessions(bank.driver)) as sessions:
        journals = sessions.session().read(JournalQuery(tuple(run.id for run in started)))
    kinds = ("step", "transaction")
    recorded = [row.key for rows in journals for row in rows if row.kind in kinds and not row.failed]
    assert bank.names() == sorted(recorded)
    lost = runs * CALLS - len(recorded)
    return Counter(chaos.hits) + Counter({"runs": runs, "recorded": len(recorded), "not recorded": lost})


def check(counts: Counter[str]) -> None:
    """The failures left some steps out, and struck at most points."""
    assert counts["recorded"] > 0, counts
    assert counts["not recorded"] > 0, counts
    assert sum(counts[point] > 0 for point in POINTS) >= 5, counts


def test_on_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(schedules(sqlite_bank(tmp_path / "runs.db"), monkeypatch, 1, 25, is_async=False))


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_on_postgresql(server: Server, monkeypatch: pytest.MonkeyPatch, is_async: bool) -> None:
    check(schedules(postgres_bank(server), monkeypatch, 2, 15, is_async))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_a_thousand(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    counts = schedules(sqlite_bank(tmp_path / "runs.db"), monkeypatch, seed, 100, is_async=False)
    counts += schedules(postgres_bank(server), monkeypatch, seed, 50, is_async=False)
    counts += schedules(postgres_bank(server), monkeypatch, seed + 100, 50, is_async=True)
    print(seed, dict(counts))
    check(counts)  # in one of the three all steps may have come to their end
