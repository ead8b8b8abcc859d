"""A search finds the same revisions whether it scans the history or asks the runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepflow.drivers.port.queries import HistoryQuery, Revision
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.drivers.sqlite.delays import remember
from stepflow.drivers.sqlite.revisions import SqliteRevisionSearch
from stepflow.testing.conformance.kit import NOW, Sessions
from stepflow.testing.conformance.laws.revisions import GROUPS, expected, landscape, revs_of

Find = Callable[[HistoryQuery, int], list[int]]

revs = st.integers(0, 40)
queries = st.builds(
    HistoryQuery,
    st.sampled_from([None, None, "r2", "nobody"]),
    revs,
    st.integers(0, 40),
    st.booleans(),
    st.sampled_from(GROUPS),
    st.sampled_from([0, NOW - 25, NOW + 9]),
    st.booleans(),
    st.none() | revs,
)


@pytest.fixture(scope="module", params=["as written", "as migrated"])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[list[Revision], Find]]:
    """The whole history of a store with many labels, and the search on it with a window of any width."""
    path: Path = tmp_path_factory.mktemp("search") / "store.db"
    sessions = Sessions(SqliteDriver(path))
    every = landscape(sessions.session())
    sessions.close()
    connection = sqlite3.connect(path)
    if request.param == "as migrated":
        connection.execute("DELETE FROM stepflow_past_labels")
        remember(connection)

    def find(query: HistoryQuery, window: int) -> list[int]:
        return SqliteRevisionSearch(connection, "/0", query, every[-1].state.rev, window).revs()

    yield every, find
    connection.close()


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(query=queries, window=st.integers(0, 12))
def test_any_window_gives_the_same_answer(store: tuple[list[Revision], Find], query: HistoryQuery, window: int) -> None:
    every, find = store
    assert find(query, window) == revs_of(expected(every, query))
