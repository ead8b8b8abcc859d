"""A reading of the sequence that is reported late settles no revision that is still uncommitted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from stepflow.drivers.postgres.commit_fast import LOCK
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.driver import PostgresDriver
from stepflow.drivers.postgres.schema import lock_key
from stepflow.drivers.postgres.transactions import TransactionRunner, fetch_all
from stepflow.drivers.postgres.visible_rev import VisibleRev
from stepflow.testing.conformance.kit import Sessions, creation, make
from tests.postgres.server import Server


def judged(visible: VisibleRev, number: int, last: int, *holders: str) -> int:
    """The verdict on a reading that found `last` drawn and these transactions holding the lock."""
    return visible.judge(number, [(last, True, "")], [(holder,) for holder in holders])


@pytest.fixture
def visible() -> VisibleRev:
    return VisibleRev(None, 0)  # type: ignore[arg-type]  # nothing is read here


def test_a_reading_that_is_reported_late_settles_nothing_that_is_uncommitted(visible: VisibleRev) -> None:
    stale = visible.begin()  # 10 was drawn, one holds the lock; then it commits, and two draws 12
    assert judged(visible, visible.begin(), 12, "two") == 0
    assert judged(visible, stale, 10, "one") == 0
    assert judged(visible, visible.begin(), 13, "three") == 12


def test_a_reading_that_overlaps_another_one_settles_nothing_that_is_uncommitted(visible: VisibleRev) -> None:
    later, earlier = visible.begin(), visible.begin()  # the one that began first was made last
    assert judged(visible, later, 12, "two") == 0
    assert judged(visible, earlier, 10, "one") == 0


def test_a_reading_without_holders_settles_what_it_read_however_late_it_is_reported(visible: VisibleRev) -> None:
    late = visible.begin()
    assert judged(visible, visible.begin(), 12, "two") == 0
    assert judged(visible, late, 10) == 10


def test_two_readings_at_a_time_settle_what_was_awaited(visible: VisibleRev) -> None:
    assert judged(visible, visible.begin(), 12, "one", "two") == 0
    first, second = visible.begin(), visible.begin()
    assert judged(visible, first, 13, "two", "three") == 0
    assert judged(visible, second, 13, "three") == 12


@pytest.fixture
def store(server: Server) -> Iterator[Any]:
    sessions = Sessions(PostgresDriver(server.url()))
    yield sessions.session()
    sessions.close()


def test_on_a_server_a_late_report_hides_no_revision_from_a_watcher(store: Any) -> None:
    runner: TransactionRunner = store._runner
    key = lock_key(runner.place.schema, "revs")
    visible = VisibleRev(runner, key)
    make(store, creation("a"))
    with ExitStack() as opened:

        def connect() -> Connection:
            return opened.enter_context(store._watch._channel.connector.connect_once())

        one, two, late, other = connect(), connect(), connect(), connect()

        def draw(connection: Connection) -> int:
            connection.execute("begin")
            connection.execute(LOCK, (key,))
            row = connection.execute(runner.sql("select nextval('stepflow.revs')")).fetchone()
            assert row
            return int(row[0])

        draw(one)
        number = visible.begin()
        last, holders = fetch_all(late, *visible.asking())  # read here, reported below
        one.execute("commit")
        uncommitted = draw(two)
        assert visible.read(other) < uncommitted
        assert visible.judge(number, last, holders) < uncommitted
        two.execute("commit")
        assert visible.covering(other) == uncommitted
