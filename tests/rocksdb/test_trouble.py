"""What can be wrong with a directory is said in the library's words, and a check finds what does not fit together."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from rocksdict import Options, Rdict

from stepflow.drivers.port.commit import Commit, Dequeue
from stepflow.drivers.port.delays import delay_key
from stepflow.drivers.port.queries import RunQuery
from stepflow.drivers.rocksdb import RocksdbDriver
from stepflow.drivers.rocksdb.disk import Disk
from stepflow.drivers.rocksdb.keys import FORMAT_KEY, Keys, number, text
from stepflow.drivers.rocksdb.records import dump
from stepflow.errors import Corrupt, ReadOnly, SchemaMismatch, StoreError, Unavailable
from stepflow.testing.conformance.kit import (
    FLOWS,
    NOW,
    claim,
    creation,
    ended,
    make,
    publish,
    record,
    step,
    write,
)
from stepflow.testing.conformance.processes.workers import lines
from tests.rocksdb.child import connect
from tests.rocksdb.test_attached import hung
from tests.rocksdb.test_crash import child

KEYS = Keys("")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed store with a run of each kind."""
    store = connect(RocksdbDriver(tmp_path / "store"), "maker")
    make(store, creation("queued"), creation("ended", due=None, transition=ended(), labels={"k": "v"}))
    make(store, hung("queued", NOW + 9))
    make(
        store, *[creation(f"many{n}", due=NOW + 9, exchange=random.Random(n).randbytes(300).hex()) for n in range(200)]
    )
    store.close()
    return tmp_path / "store"


def _raw(path: Path) -> Rdict:
    return Rdict(str(path), Options(raw_mode=True))


def _damage(file: Path, at: float) -> None:
    content = bytearray(file.read_bytes())
    place = int(len(content) * at)
    content[place : place + 64] = b"?" * 64
    file.write_bytes(content)


def test_damaged_tables(path: Path) -> None:
    for table in path.glob("*.sst"):
        _damage(table, 0.3)
    with pytest.raises(Corrupt, match="restore a backup"):
        RocksdbDriver(path).maintenance("").check()


def test_a_table_that_was_damaged_after_it_was_opened(path: Path) -> None:
    store = connect(RocksdbDriver(path), "me")
    for table in path.glob("*.sst"):
        _damage(table, 0.3)
    with pytest.raises(Corrupt, match=str(path)):
        store.read(RunQuery(NOW, limit=1000))
    store.close()


@pytest.mark.parametrize("lost", ["*.sst", "MANIFEST-*"])
def test_missing_files(path: Path, lost: str) -> None:
    for file in path.glob(lost):
        file.unlink()
    with pytest.raises((Corrupt, Unavailable), match=str(path)):
        connect(RocksdbDriver(path), "me")


def test_a_damaged_pointer_to_the_manifest(path: Path) -> None:
    (path / "CURRENT").write_text("garbage")
    with pytest.raises(Corrupt):
        connect(RocksdbDriver(path), "me")


def test_a_log_that_ends_in_the_middle_of_a_commit(tmp_path: Path) -> None:
    """As after a power failure during the last write, which nobody acknowledged."""
    with child("hold", tmp_path / "store") as process:
        lines(process, 1)
        process.send_signal(signal.SIGKILL)
    (log,) = [file for file in (tmp_path / "store").glob("*.log") if file.stat().st_size]
    log.write_bytes(log.read_bytes()[:-3])
    driver = RocksdbDriver(tmp_path / "store")
    store = connect(driver, "me")
    make(store, creation("a"))
    assert driver.maintenance("").check() == []
    store.close()


def test_a_rocksdb_of_another_program(tmp_path: Path) -> None:
    db = _raw(tmp_path / "store")
    db[b"key"] = b"value"
    db.close()
    with pytest.raises(SchemaMismatch, match="another program: use another directory"):
        connect(RocksdbDriver(tmp_path / "store"), "me")


def test_a_newer_format(path: Path) -> None:
    db = _raw(path)
    db[FORMAT_KEY] = b"2 stepflow"
    db.close()
    with pytest.raises(SchemaMismatch, match="has format 2, this version of stepflow knows 1: update"):
        connect(RocksdbDriver(path), "me")
    db = _raw(path)
    assert db[FORMAT_KEY] == b"2 stepflow"


def test_a_record_of_a_newer_format(path: Path) -> None:
    db = _raw(path)
    db[KEYS.queue + text("queued")] = b'[2,"new"]'
    db.close()
    store = connect(RocksdbDriver(path), "me")
    (record,) = store.load(["queued"])
    assert record is not None
    assert record.row is not None
    assert "update stepflow" in record.row.blocked
    assert store.claim({record.row.flow: ""}, NOW, 5) == []
    store.close()


def test_a_directory_that_is_open_in_this_process_already(path: Path) -> None:
    db = _raw(path)
    with pytest.raises(Unavailable, match=r"close it there first|open in process"):
        connect(RocksdbDriver(path), "me")
    db.close()
    del db
    connect(RocksdbDriver(path), "me").close()


@pytest.mark.parametrize(
    ("make_path", "read_only", "says"),
    [
        (lambda folder: folder / "file", False, "is a file: name a directory"),
        (lambda folder: folder / "none" / "store", False, "there is no directory .*none"),
        (lambda folder: folder / "store", True, r"does not exist: leave out \?mode=ro"),
    ],
)
def test_paths_that_cannot_be_opened(
    tmp_path: Path, make_path: Callable[[Path], Path], read_only: bool, says: str
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(Unavailable, match=says):
        connect(RocksdbDriver(make_path(tmp_path), read_only=read_only), "me")
    assert not (tmp_path / "store").exists()


def test_an_empty_path() -> None:
    with pytest.raises(StoreError, match="are directories"):
        RocksdbDriver("")


def test_sessions_of_one_process_share_the_directory(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path)
    one, two = connect(RocksdbDriver(path), "one"), connect(RocksdbDriver(tmp_path / "link"), "two")
    make(one, creation("a"))
    assert record(two, "a").state.rev > 0
    one.close()
    make(two, creation("b"))
    two.close()
    _raw(path).close()  # nobody holds the lock any more


def test_looking_only(path: Path) -> None:
    driver = RocksdbDriver(path, read_only=True)
    store = connect(driver, "me")
    assert record(store, "queued").state.id == "queued"
    assert len(store.read(RunQuery(NOW, limit=1000))) == 202
    assert driver.maintenance("").check() == []
    for call in (
        lambda: make(store, creation("b")),
        lambda: store.claim(FLOWS, NOW, 1),
        lambda: store.beat(NOW),
        lambda: driver.maintenance("").prune(NOW + 1, 5),
    ):
        with pytest.raises(ReadOnly, match=r"leave that out to write"):
            call()
    assert store.next_due(FLOWS, NOW).next_due == NOW
    store.close()


def test_values_that_fit_no_key_are_refused_for_that_member_only(path: Path) -> None:
    store = connect(RocksdbDriver(path), "me")
    held = claim(store)["queued"]
    batch = [
        creation("late", due=2**63),
        step(held, held.row.claim_rev),
        creation("first", priority=-(2**70)),
        creation("old", created_at=2**64),
        creation("typed", labels={"k": 5}),  # type: ignore[dict-item]
        creation("good"),
    ]
    kinds = [type(result).__name__ for result in store.commit(batch, NOW)]
    assert kinds == ["CodecError", "Committed", "CodecError", "CodecError", "CodecError", "Committed"]
    assert [found and found.state.id for found in store.load(["late", "first", "old", "typed", "good"])][-1] == "good"
    assert RocksdbDriver(path).maintenance("").check() == []
    store.close()


def _age(run_id: str) -> bytes:
    return number(NOW) + text(run_id)


HUNG = number(NOW + 9) + number(1) + text("queued")
DAMAGES: list[tuple[bytes, bytes | None, str]] = [
    (KEYS.group("completed", "order") + _age("ended"), None, "run 'ended' is missing in an index"),
    (KEYS.group("failed", "order") + _age("ended"), b"", "an index names run 'ended' where it is not"),
    (KEYS.group("parked", "order") + _age("nobody"), b"", "an index names run 'nobody' where it is not"),
    (KEYS.labels + text("k") + text("v") + _age("ended"), None, "run 'ended' is missing in an index"),
    (KEYS.labels + text("k") + text("w") + _age("ended"), b"", "an index names run 'ended' where it is not"),
    (KEYS.ended + _age("ended"), None, "run 'ended' is missing in an index"),
    (KEYS.ended + _age("queued"), b"", "an index names run 'queued' where it is not"),
    (KEYS.partition("order", b"0", "", 0) + _age("queued"), None, "row of run 'queued' is missing in its partition"),
    (KEYS.partition("order", b"1", "", 0) + _age("queued"), b"", "a partition names run 'queued' where it is not"),
    (KEYS.owned("nobody") + text("queued"), b"", "a partition names run 'queued' where it is not"),
    (KEYS.counts + text("completed") + text("order"), dump(7), "1 runs are completed, the counter says 7"),
    (KEYS.history + text("ended") + number(2), None, "revision 2 is missing in the history"),
    (KEYS.history + text("ended") + number(2), None, "run 'ended' has no history"),
    (KEYS.revs + number(9999), number(NOW) + text("ended"), "revision 9999 is above the newest one"),
    (KEYS.dues + b"0" + HUNG, None, "delay 1 of run 'queued' is missing in the index by time"),
    (KEYS.dues + b"1" + HUNG, b"", "the index by time names delay 1 of run 'queued' where it is not"),
    (KEYS.delays + text("queued") + number(1), None, "the index by time names delay 1 of run 'queued'"),
    (KEYS.blobs + text("queued") + number(1), None, "data 1 is missing in the index of run 'queued'"),
    (KEYS.data + number(1), None, "data 1 of run 'queued' is missing"),
    (KEYS.numbers + text("delays"), None, "delay 1 of run 'queued' is above the last one, 0"),
    (KEYS.numbers + text("data"), None, "data 1 is above the last one, 0"),
]


@pytest.mark.parametrize(("key", "value", "says"), DAMAGES)
def test_a_check_finds_what_does_not_fit(path: Path, key: bytes, value: bytes | None, says: str) -> None:
    disk = Disk(path)
    assert (disk.get(key) is None) == (value is not None and not key.startswith(KEYS.counts))
    disk.write({key: value})
    disk.close()
    found = RocksdbDriver(path).maintenance("").check()
    assert any(says in problem for problem in found), found


def test_a_run_whose_exchange_is_gone_is_claimed_and_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "store"
    store = connect(RocksdbDriver(path), "me")
    (rev,) = make(store, creation("a", exchange='"first"'))
    make(store, write("a", rev))  # its exchange is that of the revision before
    store.close()
    disk = Disk(path)
    disk.write({KEYS.history + text("a") + number(rev): None})
    disk.close()
    store = connect(RocksdbDriver(path), "me")
    (found,) = store.claim(FLOWS, NOW, 5)
    assert found.record is not None
    assert "its stored exchange is missing" in found.record.state.transition.problem
    assert found.record.exchange == ""
    store.close()


def test_pruning_leaves_no_key_behind(tmp_path: Path) -> None:
    path = tmp_path / "store"
    store = connect(RocksdbDriver(path), "me")
    make(store, creation("a", labels={"k": "v"}), creation("ab", due=None))
    make(store, publish("a", "e", "1"), publish("a", "e", "2"))
    make(store, hung("a"), hung("ab"), Commit(queue=(Dequeue(delay_key("a", 1)), Dequeue(delay_key("ab", 2)))))
    held = claim(store)["a"]
    rev = make(store, step(held, held.row.claim_rev, labels={"k": "w"}))[0]
    make(store, step(held, rev, ended(), end=True))
    assert RocksdbDriver(path).maintenance("").prune(NOW + 1, 5) == 1
    make(store, write("ab", record(store, "ab").state.rev, ended()))
    assert RocksdbDriver(path).maintenance("").prune(NOW + 1, 5) == 1
    store.close()
    disk = Disk(path)
    left = [key for key, _value in disk.scan(b"", b"\xff")]
    assert left == [KEYS.numbers + text(series) for series in ("data", "delays")]  # no number is given again
    disk.close()
