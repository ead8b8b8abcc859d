"""The zeros behind the end of SQLite's log: most commits do not make the file longer, and no reader takes them for commits."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from stepflow.drivers.port.store import Store
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.drivers.sqlite.log_space import CHUNK, LIMIT, LogSpace
from stepflow.testing.conformance.kit import NOW, Sessions, creation

COMMITS = 100  # they write more than CHUNK, and less than LIMIT


@contextmanager
def opened(path: Path) -> Iterator[Store]:
    with closing(Sessions(SqliteDriver(path))) as sessions:
        yield sessions.session()


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def growths(path: Path, *stores: Store, first: int = 0) -> int:
    """How many of COMMITS commits, made by the sessions in turn, made the log longer."""
    found, size = 0, log_of(path).stat().st_size
    for number in range(first, first + COMMITS):
        stores[number % len(stores)].commit([creation(f"r{number}")], NOW)
        size, before = log_of(path).stat().st_size, size
        found += size != before
    return found


@pytest.mark.parametrize("number", [1, 2])
def test_few_commits_make_the_log_longer(tmp_path: Path, number: int) -> None:
    path = tmp_path / "store"
    with closing(Sessions(SqliteDriver(path))) as sessions:
        found = growths(path, *[sessions.session() for _ in range(number)])
        chunks = log_of(path).stat().st_size // CHUNK
    assert chunks > 1
    assert found <= 2 * (chunks + 1)  # the commit that comes to the end, and the zeros behind it


def test_a_log_that_begins_again_becomes_no_longer(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with opened(path) as store:
        for first in range(0, 12 * COMMITS, COMMITS):
            growths(path, store, first=first)
        assert log_of(path).stat().st_size < 2 * LIMIT
        assert growths(path, store, first=12 * COMMITS) == 0


def test_a_copy_with_zeros_behind_the_last_commit_has_all_commits(tmp_path: Path) -> None:
    path, copy = tmp_path / "store", tmp_path / "copy"
    with opened(path) as store:
        growths(path, store)
        shutil.copyfile(path, copy)
        shutil.copyfile(log_of(path), log_of(copy))
    assert log_of(copy).stat().st_size % CHUNK == 0
    assert not any(log_of(copy).read_bytes()[-4096:])
    with closing(sqlite3.connect(copy)) as program:
        assert program.execute("SELECT count(*) FROM stepflow_states").fetchone()[0] == COMMITS
        assert program.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_commits_go_on_where_there_is_no_room_for_zeros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried, write = [], os.write

    def full(fd: int, content: bytes) -> int:
        if any(content):
            return write(fd, content)
        tried.append(1)
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "store"
    monkeypatch.setattr(os, "write", full)
    with opened(path) as store:
        assert growths(path, store) == COMMITS
        assert tried
        assert len([record for record in store.load([f"r{n}" for n in range(COMMITS)]) if record]) == COMMITS


def test_zeros_are_written_over_nothing_that_another_writer_appends_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who replaces the file lets the path lead to a log whose writers do not wait for the lock of this one."""
    log, opening = tmp_path / "store-wal", os.open
    log.write_bytes(b"frames")

    def late(path: Any, *args: Any, **options: Any) -> int:
        if path == str(log):  # not a file of another thread
            with log.open("ab") as other:
                other.write(b"of another file")
        return opening(path, *args, **options)

    monkeypatch.setattr("stepflow.drivers.sqlite.log_space.os.open", late)
    LogSpace(log).fill()
    assert log.read_bytes().rstrip(bytes(1)) == b"framesof another file"
    assert log.stat().st_size > CHUNK
