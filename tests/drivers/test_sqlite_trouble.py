"""A SQLite file that is damaged, locked, full, read-only or newer: a clear error, and nothing is lost."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from stepflow.drivers.port.commit import Commit
from stepflow.drivers.port.delays import Delay
from stepflow.drivers.port.queries import HistoryQuery
from stepflow.drivers.sqlite import SqliteDriver, locks
from stepflow.drivers.sqlite.locks import LockFile
from stepflow.drivers.sqlite.schema import migrations
from stepflow.errors import Corrupt, Full, ReadOnly, SchemaMismatch, StoreError, Unavailable
from stepflow.model.state import State
from stepflow.testing.conformance.kit import (
    FLOWS,
    NOW,
    Sessions,
    claim,
    creation,
    ended,
    going,
    make,
    numbers,
    record,
    write,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "orders.db"


@pytest.fixture
def sessions(path: Path) -> Iterator[Sessions]:
    sessions = Sessions(SqliteDriver(path, lock_timeout_s=0.05))
    yield sessions
    sessions.close()


def test_no_database(path: Path, sessions: Sessions) -> None:
    path.write_bytes(b"this is a letter, no database\n" * 100)
    with pytest.raises(Corrupt, match=r"orders.db.*no SQLite database.*backup"):
        sessions.session()
    assert path.read_bytes().startswith(b"this is a letter")


def test_damaged_pages(path: Path, sessions: Sessions) -> None:
    store = sessions.session()
    make(store, *[creation(f"r{n}", exchange='"x"' * 100) for n in range(200)])
    sessions.close()
    content = bytearray(path.read_bytes())
    content[4096 * 2 :] = b"\xa5" * (len(content) - 4096 * 2)
    path.write_bytes(content)
    with pytest.raises(Corrupt, match=r"orders.db.*backup"):
        sessions.session().load(["r5"])
    assert sessions.driver.maintenance("").check()


def test_check_finds_a_delay_that_nothing_will_claim(path: Path, sessions: Sessions) -> None:
    store = sessions.session()
    (rev,) = make(store, creation("a", due=None))
    numbers(store, Commit(delays=(Delay(State("a", rev, going()), NOW + 5),)))
    assert sessions.driver.maintenance("").check() == []
    sessions.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("DELETE FROM stepflow_queue")
    assert sessions.driver.maintenance("").check() == ["delay 1 is pending, but nothing will claim it"]


def test_check_finds_what_does_not_fit_together(path: Path, sessions: Sessions) -> None:
    make(sessions.session(), creation("a", labels={"k": "v"}), creation("b"))
    sessions.close()
    with sqlite3.connect(path) as other:
        other.execute("DELETE FROM stepflow_states WHERE id = 'a'")
        other.execute("DELETE FROM stepflow_history WHERE id = 'b'")
    other.close()
    problems = sessions.driver.maintenance("").check()
    said = [
        "run 'b' has no history",
        "queue row of 'a' belongs to no run",
        "label of run 'a'",
        "revision 1 belongs to no",
    ]
    assert [[text for text in problems if words in text][:1] == [] for words in said] == [False] * len(said)


def test_looking_without_writing(path: Path, sessions: Sessions) -> None:
    make(sessions.session(), creation("a", labels={"k": "v"}))
    looking = Sessions(SqliteDriver(path, read_only=True))
    store = looking.session()
    assert record(store, "a").state.id == "a"
    assert len(store.read(HistoryQuery())) == 1
    assert store.next_due(FLOWS, NOW).next_due == NOW
    for write_something in (
        lambda: store.commit([creation("b")], NOW),
        lambda: store.claim(FLOWS, NOW, 1),
        lambda: store.beat(NOW),
        lambda: looking.driver.maintenance("").prune(NOW, 1),
    ):
        with pytest.raises(ReadOnly, match=r"orders.db.*mode=ro"):
            write_something()
    looking.close()
    assert sessions.session().load(["b"]) == [None]


def test_the_file_system_refuses_writes(sessions: Sessions) -> None:
    store = sessions.session()
    store._database._writer.execute("PRAGMA query_only = ON")  # what SQLite then raises is SQLITE_READONLY
    with pytest.raises(ReadOnly, match=r"orders.db.*writable"):
        store.commit([creation("a")], NOW)
    store._database._writer.execute("PRAGMA query_only = OFF")
    make(store, creation("a"))


def test_looking_at_nothing(path: Path) -> None:
    with pytest.raises(Unavailable, match=r"orders.db"):
        Sessions(SqliteDriver(path, read_only=True)).session()
    assert not path.exists()


@pytest.mark.parametrize("made", ["missing/orders.db", "folder"])
def test_no_place_for_a_file(tmp_path: Path, made: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(Unavailable, match=r"create it|is a directory"):
        Sessions(SqliteDriver(tmp_path / made)).session()


def test_a_place_where_files_cannot_be_made() -> None:
    with pytest.raises(StoreError, match=r"/proc/orders.db"):
        Sessions(SqliteDriver("/proc/orders.db")).session()


def test_the_lock_files_cannot_be_made(path: Path, sessions: Sessions) -> None:
    sessions.session()
    sessions.close()
    shutil.rmtree(f"{path}-locks")
    Path(f"{path}-locks").write_text("in the way")
    with pytest.raises(StoreError, match=r"orders.db-locks"):
        sessions.session()


def test_the_lock_files_were_deleted(path: Path, sessions: Sessions) -> None:
    store = sessions.session()
    shutil.rmtree(f"{path}-locks")
    with pytest.raises(Unavailable, match=r"orders.db-locks.*check that its directory exists"):
        store.beat(NOW)


def test_another_program_holds_the_file(path: Path, sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LOCKS_OF_SYSTEM", path / "none")  # the other one is this process
    store = sessions.session()
    make(store, creation("a"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for call in (
        lambda: store.commit([creation("b")], NOW),
        lambda: store.claim(FLOWS, NOW, 1),
        lambda: store.beat(NOW),
    ):
        with pytest.raises(Unavailable, match=r"orders.db.*end it, then try again"):
            call()
    assert record(store, "a").state.id == "a"  # reading goes on
    other.execute("ROLLBACK")
    other.close()
    make(store, creation("b"))
    assert set(claim(store)) == {"a", "b"}


def test_another_program_has_the_file_for_itself(path: Path, sessions: Sessions) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("CREATE TABLE business (id)")
    with pytest.raises(Unavailable, match=r"orders.db"):
        sessions.session()
    other.close()
    make(sessions.session(), creation("a"))


def test_a_process_that_does_not_end_its_turn(path: Path, sessions: Sessions) -> None:
    store = sessions.session()
    turn = LockFile(path.with_name("orders.db-locks") / "turn")
    assert turn.try_lock()
    with pytest.raises(Unavailable, match=r"turn.*stopped"):
        store.commit([creation("a")], NOW)
    turn.close()
    make(store, creation("a"))


def test_a_newer_schema(path: Path, sessions: Sessions) -> None:
    make(sessions.session(), creation("a"))
    sessions.close()
    known = migrations()[-1][0]
    _meta(path, "schema", 99)
    with pytest.raises(SchemaMismatch, match=rf"schema 99.*knows {known}.*update stepflow"):
        sessions.session()
    _meta(path, "schema", known)
    assert record(sessions.session(), "a").state.id == "a"


def test_another_number_of_shards(path: Path, sessions: Sessions) -> None:
    sessions.session()
    sessions.close()
    _meta(path, "shards", 8)
    with pytest.raises(SchemaMismatch, match="8 shards"):
        sessions.session()


def _meta(path: Path, name: str, value: int) -> None:
    with sqlite3.connect(path) as other:
        other.execute("UPDATE stepflow_meta SET value = ? WHERE name = ?", (value, name))
    other.close()


def test_the_disk_is_full(sessions: Sessions) -> None:
    store = sessions.session()
    make(store, creation("a"))
    held = claim(store)["a"]
    writer = store._database._writer
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count = {pages + 1}")
    batch = [creation(f"r{n}", exchange='"' + "x" * 5000 + '"') for n in range(20)]
    with pytest.raises(Full, match=r"orders.db.*free some disk space"):
        store.commit(batch, NOW)
    assert store.load(["a", "r0", "r19"])[1:] == [None, None]
    assert sessions.driver.maintenance("").check() == []
    writer.execute("PRAGMA max_page_count = 1000000")
    make(store, *batch)
    assert record(store, "a").row == held.row


def test_a_business_table_in_the_same_file(path: Path, sessions: Sessions) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE states (id)")
        other.execute("CREATE TABLE business (id)")
    other.close()
    make(sessions.session(), creation("a"))


def test_two_engines_with_one_owner_id(sessions: Sessions) -> None:
    one, two = sessions.session(owner="me"), sessions.session(owner="me")
    one.beat(NOW)
    with pytest.raises(Unavailable, match=r"me.*use a new id"):
        two.beat(NOW)


def test_posting_to_another_file(tmp_path: Path, sessions: Sessions) -> None:
    store = sessions.session()
    for target in (tmp_path / "other.db", ":memory:"):
        other = sqlite3.connect(target)
        other.execute("CREATE TABLE business (id)")
        with pytest.raises(StoreError, match=r"both must be one file"):
            store.post(other, creation("a"))
        other.close()


def test_what_was_posted_has_the_time_of_the_post(path: Path, sessions: Sessions) -> None:
    store = sessions.session()
    tx = sqlite3.connect(path)
    store.post(tx, creation("a", created_at=NOW + 7, due=None))
    tx.commit()
    tx.close()
    assert record(store, "a").state.committed_at == NOW + 7


def test_posting_without_a_transaction(path: Path, sessions: Sessions) -> None:
    store = sessions.session()
    other = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(StoreError, match="begin one"):
        store.post(other, creation("a"))
    other.close()


def test_posting_through_wrapped_connections(path: Path, sessions: Sessions) -> None:
    store = sessions.session()
    tx = sqlite3.connect(path)
    wrapped = SimpleNamespace(connection=SimpleNamespace(driver_connection=tx))  # as a SQLAlchemy Connection
    session = SimpleNamespace(connection=lambda: wrapped)  # as a SQLAlchemy Session
    store.post(wrapped, creation("a"))
    store.post(session, creation("b"))
    tx.commit()
    tx.close()
    assert set(claim(store)) == {"a", "b"}


def test_commits_from_many_threads_of_one_session(sessions: Sessions) -> None:
    store = sessions.session()

    def work(number: int) -> None:
        for turn in range(10):
            rev = make(store, creation(f"{number}-{turn}", due=None))[0]
            make(store, write(f"{number}-{turn}", rev, ended()))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.read(HistoryQuery(limit=1000))) == 80


def test_a_copied_file_is_a_store(path: Path, tmp_path: Path, sessions: Sessions) -> None:
    make(sessions.session(), creation("a"))
    sessions.close()
    shutil.copy(path, tmp_path / "copy.db")
    copy = Sessions(SqliteDriver(tmp_path / "copy.db"))
    assert record(copy.session(), "a").state.id == "a"
    copy.close()
