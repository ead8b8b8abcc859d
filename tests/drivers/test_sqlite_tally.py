"""A tally on SQLite reads only what changed since it counted last, and is exact."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings

from stepflow.drivers.port import tallied
from stepflow.drivers.port.queries import Tally
from stepflow.drivers.sqlite import SqliteDriver, tally
from stepflow.testing.conformance.kit import NOW, Sessions, creation, ended, make
from tests.drivers.counting import OPERATIONS, Late, check_concurrent_tallies, check_tallies, counts_of

KEEP_NEWER = tally.keep_newer


@pytest.fixture(autouse=True, scope="module")
def keeps_all() -> Any:
    """Small stores keep their counts, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tallied, "KEEP_FROM", 0)
        yield


@given(operations=OPERATIONS)
@settings(max_examples=25, deadline=None)
def test_every_tally_is_exact(operations: Sequence[tuple[str, int, str]]) -> None:
    late: Late = []

    def keep_late(_writer: sqlite3.Connection, shard: str, newer: tallied.Tallied) -> None:
        late.append(partial(_keep, folder, shard, newer))

    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tally, "keep_newer", keep_late)
        check_tallies(SqliteDriver(Path(folder) / "store.db"), operations, late)


def _keep(folder: str, shard: str, newer: tallied.Tallied) -> None:
    with sqlite3.connect(Path(folder) / "store.db") as connection:
        KEEP_NEWER(connection, shard, newer)
    connection.close()


def test_tallies_are_exact_while_others_write_and_prune(tmp_path: Path) -> None:
    check_concurrent_tallies(SqliteDriver(tmp_path / "store.db"), 30)


def test_a_tally_does_not_grow_with_the_runs_that_ended(tmp_path: Path) -> None:
    sessions = Sessions(SqliteDriver(tmp_path / "store.db"))
    store: Any = sessions.session()
    costs = []
    for first, last in ((0, 200), (200, 2_000)):
        make(store, *[creation(f"r{n}", due=None, transition=ended()) for n in range(first, last)])
        counts_of(store, NOW)
        with store._database.reading() as connection:
            steps: list[int] = []
            connection.set_progress_handler(lambda steps=steps: steps.append(1), 10)
            assert tally.SqliteTally(connection, "/0").read(NOW) == [Tally("order", "completed", last)]
            connection.set_progress_handler(None, 0)
        costs.append(len(steps))
    assert costs[1] <= costs[0] + 2
    sessions.close()
