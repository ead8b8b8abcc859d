"""What a session caches of the runs that it holds, and what invalidates the cache."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from stepflow.drivers.port.commit import Commit, Enqueue, Fence, Owner, Pause, Release
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.drivers.sqlite.database import SqliteDatabase
from stepflow.drivers.sqlite.session import SqliteStore
from stepflow.errors import LostClaim, OutcomeUnknown, RevMismatch, StoreError
from stepflow.testing.conformance.kit import (
    FLOW,
    NOW,
    as_member,
    begun,
    claim,
    creation,
    ended,
    make,
    publish,
    record,
    refused,
    step,
)


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


def test_held_runs_are_cached_until_they_are_released(store):
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
        make(other, creation("b", due=None))
        (rev,) = make(store, as_member(step(held, rev)))
        assert known(store) == {"a"}
        make(other, creation("c", due=None))
        assert store.release([Release(held.fence, NOW)], NOW) == [True]
        assert isinstance(refused(store, step(held, rev)), LostClaim)
        assert known(store) == set()  # another session may claim it at any time


def test_a_claim_of_another_session_is_not_taken_for_an_own_one(path, store):
    with closing(session(path, "two")) as other:
        held, rev = begun(other, "a")
        (rev,) = make(store, step(held, rev))  # any commit with the fence may use it
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


def test_a_commit_that_the_disk_refuses_leaves_nothing_known(path, store):
    held, rev = begun(store, "a")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))  # the log is longer already
    try:
        with pytest.raises(OutcomeUnknown):  # the statements were done: it is COMMIT that writes to the log
            make(store, step(held, rev))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert make(store, step(held, rev)) == [rev + 1]
    assert record(store, "a").state.rev == rev + 1


def test_a_claim_that_fails_is_not_known(store):
    make(store, creation("a"))
    row = record(store, "a").row
    assert row is not None
    writer = store._database._writer
    writer.execute(
        "CREATE TEMP TRIGGER no BEFORE UPDATE OF owner ON main.stepflow_queue BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    with pytest.raises(StoreError):
        store.claim({FLOW: ""}, NOW, 1)
    writer.execute("DROP TRIGGER no")
    never_given = Fence("a", row.epoch + 1)
    assert isinstance(refused(store, step(never_given, record(store, "a").state.rev)), LostClaim)
    assert claim(store)["a"].fence == never_given  # now it was


def test_a_run_without_a_state_is_not_created_again(store):
    held, rev = begun(store, "a")
    store._database._writer.execute("DELETE FROM stepflow_states")  # as no session and no program does
    for commit in (step(held, rev), step(held, rev, exchange="[1]")):
        assert isinstance(store.commit([commit], NOW)[0], LostClaim)
    assert store._database._writer.execute("SELECT count(*) FROM stepflow_states").fetchone() == (0,)


def test_an_event_wakes_the_released_run_with_a_new_epoch(store):
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
        store.post(program, creation("posted"))
        program.execute("COMMIT")
    (next_rev,) = make(store, step(held, rev))
    assert next_rev == record(store, "posted").state.rev + 1
    assert make(store, Commit(), step(held, next_rev))[1] == next_rev + 1


def test_a_post_that_arrives_while_posts_are_applied_is_applied(path, store, monkeypatch):
    held, rev = begun(store, "a")
    begins, turn = SqliteDatabase.begin, count(1)
    with closing(sqlite3.connect(path, isolation_level=None)) as program:

        def post(run_id: str) -> None:
            program.execute("BEGIN")
            store.post(program, creation(run_id))
            program.execute("COMMIT")

        def begin(database: SqliteDatabase, writer: sqlite3.Connection) -> bool:
            if next(turn) == 2:
                post("second")  # in the moment between the two transactions
            return begins(database, writer)

        post("first")
        monkeypatch.setattr(SqliteDatabase, "begin", begin)
        assert set(claim(store)) == {"first", "second"}
    make(store, step(held, rev))


PLACED = 40  # runs of one batch


@pytest.mark.parametrize("change", ["nothing", "claimed", "paused"])
def test_runs_that_were_known_before_others_wrote_are_found_by_their_rowids(path, store, change):
    """All of them in a few statements; if one was changed, each is looked up by its id, and only that one is refused."""
    runs = {name: begun(store, name) for name in [f"r{number:02}" for number in range(PLACED)]}
    statements: list[str] = []
    with closing(session(path, "two")) as other:
        make(other, creation("other", due=None))
        if change == "claimed":
            assert store.release([Release(runs["r07"][0].fence, NOW)], NOW) == [True]
            assert set(claim(other)) == {"r07"}
        elif change == "paused":
            make(other, Commit(pause=(Pause("r07"),)))
        store._database._writer.set_trace_callback(statements.append)
        answers = store.commit([as_member(step(held, rev)) for held, rev in runs.values()], NOW)
        store._database._writer.set_trace_callback(None)
        assert [name for name, answer in zip(runs, answers, strict=True) if isinstance(answer, Exception)] == (
            [] if change == "nothing" else ["r07"]
        )
    by_id = [one for one in statements if "q.id IN (VALUES" in one]
    assert bool(by_id) == (change != "nothing")
    assert len([one for one in statements if "total(" in one]) < 8


def test_a_lone_step_of_another_revision_is_refused(store):
    held, rev = begun(store, "a")
    (newer,) = make(store, step(held, rev))
    (answer,) = store.commit([as_member(step(held, rev))], NOW)
    assert isinstance(answer, RevMismatch)
    assert record(store, "a").state.rev == newer
