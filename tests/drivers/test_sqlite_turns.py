"""What a session on a SQLite file may keep cached between two of its commits, and what it has to sync."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from stepflow.drivers.port.commit import Committed, Owner
from stepflow.drivers.port.store import Store
from stepflow.drivers.sqlite import SqliteDriver, locks
from stepflow.drivers.sqlite.database import SqliteDatabase
from stepflow.errors import RevMismatch
from stepflow.testing.conformance.kit import FLOWS, NOW, as_member, begun, creation, make, record, step


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.db"


def session(path: Path, name: str) -> Store:
    return SqliteDriver(path).connect("", Owner(name, "host", 1), NOW)


@pytest.fixture
def two(path: Path) -> Iterator[tuple[Store, Store]]:
    with closing(session(path, "one")) as one, closing(session(path, "two")) as two:
        yield one, two


def test_steps_number_on_where_others_left_off(two):
    one, other = two
    claims = {name: begun(one, name) for name in ("a", "b")}
    revs = {name: rev for name, (_claim, rev) in claims.items()}
    head = 2
    for turn in range(60):
        name = "ab"[turn % 2]
        (revs[name],) = make(one, step(claims[name][0], revs[name]))
        assert revs[name] == head + 1
        head += 1
        if turn % 20 < 3:  # alone for a while, then beside another writer
            head += len(make(other, creation(f"other-{turn}", due=None)))
    assert [record(one, name).state.rev for name in "ab"] == [revs["a"], revs["b"]]


def test_a_step_after_a_posted_start_applies_that_first(two, path):
    one, other = two
    held, rev = begun(one, "a")
    (rev,) = make(one, step(held, rev))
    with closing(sqlite3.connect(path, isolation_level=None)) as tx:
        tx.execute("BEGIN")
        other.post(tx, creation("posted", due=None))
        tx.execute("COMMIT")
        (after,) = make(one, step(held, rev))
        assert tx.execute("SELECT count(*) FROM stepflow_inbox").fetchone() == (0,)
    assert (record(one, "posted").state.rev, after) == (rev + 1, rev + 2)


def test_a_step_that_was_fenced_off_meanwhile_is_refused_though_nothing_else_happened(two):
    one, other = two
    held, rev = begun(one, "a")
    (rev,) = make(one, step(held, rev))
    other.beat(NOW, dead=["one"])  # changes the queue only, no revision
    (refusal,) = one.commit([step(held, rev)], NOW)
    assert isinstance(refusal, Exception)
    assert record(one, "a").state.rev == rev


@pytest.fixture
def sleepless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread waits for a lock while this test runs; threads of other tests may sleep."""

    def sleep(seconds: float) -> None:
        raise AssertionError(f"slept for {seconds} s")

    monkeypatch.setattr(locks, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))


@pytest.mark.usefixtures("sleepless")
def test_a_free_commit_waits_for_no_other_program(two, path):
    one, _other = two
    with closing(sqlite3.connect(path, isolation_level=None)) as program:
        program.execute("BEGIN IMMEDIATE")
        assert one.commit_if_free([creation("a")], NOW) is None
        assert one.claim_if_free(FLOWS, NOW, 1) is None
        program.execute("ROLLBACK")
    assert one.load(["a"]) == [None]
    assert one.commit_if_free([creation("a")], NOW) == [Committed((1,), committed_at=NOW)]


@pytest.mark.usefixtures("sleepless")
def test_a_non_waiting_commit_that_restarts_does_not_wait_then_either(two, path, monkeypatch):
    one, _other = two
    held, rev = begun(one, "a")
    stale = as_member(step(held, rev + 1))  # what cannot be applied together with others is tried alone
    begins, turn = SqliteDatabase.begin, count(1)
    with closing(sqlite3.connect(path, isolation_level=None)) as program:

        def begin(database: SqliteDatabase, writer: sqlite3.Connection) -> bool:
            if next(turn) == 2:
                program.execute("BEGIN IMMEDIATE")  # in the moment between the two transactions
            return begins(database, writer)

        monkeypatch.setattr(SqliteDatabase, "begin", begin)
        assert one.commit_if_free([stale], NOW) is None
        program.execute("ROLLBACK")
    assert isinstance(one.commit([stale], NOW)[0], RevMismatch)
    assert len(make(one, step(held, rev))) == 1


def test_every_commit_reaches_the_disk_and_a_claim_need_not(two):
    one, _other = two
    writer = one._database._writer  # type: ignore[attr-defined]

    def level() -> str:
        return {1: "NORMAL", 2: "FULL"}[writer.execute("PRAGMA synchronous").fetchone()[0]]

    make(one, creation("a"))
    assert level() == "FULL"
    assert one.claim({"flow": ""}, NOW, 1) is not None
    assert level() == "NORMAL"
    make(one, creation("b"))
    assert level() == "FULL"
