"""What a start in the caller's transaction costs does not grow with the starts that were posted before it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from stepflow import Engine, RunExists, named
from tests.postgres.banks import Bank, postgres_bank, sqlite_bank
from tests.postgres.server import Server

STARTS, PART = 1_000, 200
FLOW = named("x", dict[str, Any]).do("a", lambda _exchange: None).compile()
ROWS = (
    "select coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0) from pg_stat_xact_user_tables"
    " where relname in ('inbox', 'states')"
)


def costs(bank: Bank, business: Any, cost: Callable[[], int]) -> list[int]:
    """What each part of many starts cost, those of single ids and of several."""
    with Engine(bank.driver) as engine:
        engine.register(FLOW)
        business.execute("insert into bank values ('a')")
        found = [cost()]
        for first in range(0, STARTS, PART):
            for n in range(first, first + PART):
                engine.start(FLOW, {"n": n}, id=f"run {n}", tx=business)
            engine.start_many(FLOW, [(f"many {n}", {"n": n}) for n in range(first, first + PART)], tx=business)
            found.append(cost())
        for run_id in ("run 0", f"run {STARTS - 1}", "many 0", f"many {STARTS - 1}"):
            with pytest.raises(RunExists, match="another input"):
                engine.start(FLOW, {"n": -1}, id=run_id, tx=business)
    return [later - before for before, later in pairwise(found)]


def test_starts_in_a_transaction_on_sqlite(tmp_path: Path) -> None:
    bank, done = sqlite_bank(tmp_path / "runs.db"), [0]

    def step() -> None:
        done[0] += 1

    with closing(sqlite3.connect(tmp_path / "runs.db")) as business:
        business.set_progress_handler(step, 10)
        parts = costs(bank, business, lambda: done[0])
    assert max(parts) < 1.2 * min(parts)


def test_starts_in_a_transaction_on_postgres(server: Server) -> None:
    bank = postgres_bank(server)
    with closing(bank.connect()) as business:
        parts = costs(bank, business, lambda: int(business.execute(ROWS).fetchone()[0]))
    assert max(parts[1:]) <= 2 * PART, parts  # a short inbox is read whole
