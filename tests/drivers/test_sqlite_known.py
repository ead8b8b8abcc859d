"""What a session takes for granted of the runs that it holds, and what makes it look again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stepflow.drivers.sqlite import SqliteDriver
from stepflow.drivers.sqlite.session import SqliteStore
from stepflow.drivers.values import Commit, Enqueue, Fence, Owner, Release
from stepflow.errors import LostClaim, RevMismatch, StoreError
from stepflow.testing.conformance.kit import FLOW, NOW, begun, birth, claim, ended, make, publish, record, refused, step


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.db"


def session(path: Path, name: str) -> SqliteStore:
    store = SqliteDriver(path).connect("", Owner(name, "host", 1), NOW)
    assert isinstance(store, SqliteStore)
    return store


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with closing(session(path, "one")) as store:
        yield store


def known(store: SqliteStore) -> set[str]:
    return set(store._known.places)


def test_the_runs_that_are_held_are_known_until_they_are_let_go(store):
    held = {name: begun(store, name) for name in ("ends", "waits", "released", "stays")}
    assert known(store) == set(held)
    (claimed, rev) = held["waits"]
    make(store, step(*held["ends"], ended(), end=True))
    make(store, step(claimed, rev)._replace(queue=(Enqueue("waits", FLOW, NOW + 5),)))
    assert store.release([Release(held["released"][0].fence, NOW + 5)], NOW) == [True]
    assert known(store) == {"stays"}
    for name in ("waits", "released"):
        assert isinstance(refused(store, step(held[name][0], record(store, name).state.rev)), LostClaim)
    make(store, step(*held["stays"]))


def test_a_takeover_by_another_session_is_seen_by_the_next_step(path, store):
    held, rev = begun(store, "a")
    (rev,) = make(store, step(held, rev))
    with closing(session(path, "two")) as other:
        other.beat(NOW, ["one"])
        taken = claim(other)["a"]
        assert isinstance(refused(store, step(held, rev)), LostClaim)
        (rev,) = make(other, step(taken, rev))
        assert isinstance(refused(store, step(held, rev)), LostClaim)
        make(other, step(taken, rev))


def test_after_others_have_written_the_runs_are_looked_up_once(path, store):
    held, rev = begun(store, "a")
    with closing(session(path, "two")) as other:
        make(other, birth("b", due=None))
        (rev,) = make(store, step(held, rev))
        assert known(store) == {"a"}
        make(other, birth("c", due=None))
        assert store.release([Release(held.fence, NOW)], NOW) == [True]
        assert isinstance(refused(store, step(held, rev)), LostClaim)
        assert known(store) == set()  # somebody may claim it at any time


def test_a_claim_of_another_session_is_not_taken_for_an_own_one(path, store):
    with closing(session(path, "two")) as other:
        held, rev = begun(other, "a")
        (rev,) = make(store, step(held, rev))  # whoever has the fence may use it
        assert known(store) == set()
        make(other, step(held, rev))


def test_rows_that_move_to_other_rowids_are_found_again(path, store):
    runs = {name: begun(store, name) for name in ("a", "b")}
    with closing(sqlite3.connect(path)) as program:
        program.execute("UPDATE stepflow_states SET rowid = rowid + 100")
        program.commit()
        program.execute("VACUUM")
    for name, (held, rev) in runs.items():
        make(store, step(held, rev, exchange=f'"{name}"'))
    assert [record(store, name).exchange for name in runs] == ['"a"', '"b"']


def test_a_commit_that_fails_leaves_nothing_known(store):
    held, rev = begun(store, "a")
    writer = store._database._writer
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreError):
        make(store, step(held, rev, exchange=f'"{"x" * 100_000}"'))
    writer.execute("PRAGMA max_page_count=1000000")
    (again,) = make(store, step(held, rev))
    assert again == rev + 1
    assert record(store, "a").state.rev == again


def test_a_claim_that_is_not_committed_is_not_known(store, monkeypatch):
    make(store, birth("a"))

    def broken(_writer: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(store._database, "_commit", broken)
        with pytest.raises(sqlite3.OperationalError):
            store.claim({FLOW: ""}, NOW, 1)
    store._database._writer.rollback()
    held = claim(store)["a"]
    make(store, step(held, record(store, "a").state.rev))


def test_a_run_whose_state_is_gone_is_not_made_anew(store):
    held, rev = begun(store, "a")
    store._database._writer.execute("DELETE FROM stepflow_states")  # as no session and no program does
    for commit in (step(held, rev), step(held, rev, exchange="[1]")):
        assert isinstance(store.commit([commit], NOW)[0], RevMismatch)
    assert store._database._writer.execute("SELECT count(*) FROM stepflow_states").fetchone() == (0,)


def test_an_event_wakes_the_run_that_was_let_go_with_a_new_epoch(store):
    held, rev = begun(store, "a")
    waiting = step(held, rev)._replace(queue=(Enqueue("a", FLOW, NOW + 50),))
    (rev,) = make(store, waiting)
    make(store, publish("a", "paid", "1"))
    for epoch in range(held.fence.epoch - 1, held.fence.epoch + 3):
        commit = step(Fence("a", epoch), rev)
        row = record(store, "a").row
        assert row is not None
        if epoch != row.epoch:
            assert isinstance(refused(store, commit), LostClaim)


def test_a_batch_with_a_posted_one_before_it(path, store):
    held, rev = begun(store, "a")
    with closing(sqlite3.connect(path, isolation_level=None)) as program:
        program.execute("BEGIN")
        store.post(program, birth("posted"))
        program.execute("COMMIT")
    (next_rev,) = make(store, step(held, rev))
    assert next_rev == record(store, "posted").state.rev + 1
    assert make(store, Commit(), step(held, next_rev))[1] == next_rev + 1
