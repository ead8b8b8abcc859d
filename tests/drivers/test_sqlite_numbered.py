"""Numbered parameters mean the same with and without their numbers."""

from __future__ import annotations

import sqlite3
import warnings
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow.drivers.sqlite import database
from stepflow.drivers.sqlite.driver import SqliteDriver
from stepflow.drivers.sqlite.numbered import Connection, plain
from stepflow.testing.conformance.kit import Sessions, claim, creation, make, record, step


@given(st.lists(st.one_of(st.just(""), st.integers(1, 6).map(str)), min_size=1, max_size=8))
def test_a_statement_selects_what_sqlite_itself_would(numbers: list[str]) -> None:
    statement = f"SELECT {', '.join(f'?{number}' for number in numbers)}"
    with (
        closing(sqlite3.connect(":memory:", factory=Connection)) as ours,
        closing(sqlite3.connect(":memory:")) as theirs,
    ):
        values = [f"v{n}" for n in range(1 + max(plain(statement)[1] or range(len(numbers))))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            expected = theirs.execute(statement, values).fetchone()
        assert ours.execute(statement, values).fetchone() == expected


def test_names_are_left_alone() -> None:
    with closing(sqlite3.connect(":memory:", factory=Connection)) as ours:
        assert ours.execute("SELECT :a, :b", {"a": 1, "b": 2}).fetchone() == (1, 2)


def test_a_store_works_on_such_connections(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database.numbered, "AFFECTED", True)
    sessions = Sessions(SqliteDriver(tmp_path / "store.db"))
    store = sessions.session()
    make(store, *[creation(f"r{n}", labels={"n": str(n)}) for n in range(40)])
    claims = claim(store)
    make(store, *[step(found, found.row.claim_rev) for found in claims.values()])
    assert len(claims) == 40
    assert record(store, "r7").state.rev > claims["r7"].row.claim_rev
    sessions.close()
    assert sessions.driver.maintenance("").check() == []
