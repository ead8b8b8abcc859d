"""A write transaction that this process itself has open on another connection: a call that would wait for it is refused soon."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from stepflow import Engine, named
from stepflow.drivers.sqlite import SqliteDriver, database
from stepflow.drivers.sqlite.locks import held_here
from stepflow.errors import Unavailable

FLOW = named("x").do("a", lambda: None).compile()
FOREVER_S = 3600.0
pytestmark = pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the system does not tell who holds a lock")
OTHER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("begun", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "OWN_S", 0.02)


@contextmanager
def open_transaction(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("CREATE TABLE IF NOT EXISTS t (x)")
        yield db


def test_opening_a_new_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    driver = SqliteDriver(path, lock_timeout_s=FOREVER_S)
    with open_transaction(path) as db:
        with pytest.raises(Unavailable, match=r"this process has open on another connection.*tx="), Engine(driver):
            pass
        assert held_here(path)
        db.execute("COMMIT")
        assert not held_here(path)
        with Engine(driver) as engine:
            engine.register(FLOW)
            engine.start(FLOW, id="a")
            assert engine.run_until_idle().completed == 1


def test_a_start_and_a_worker_are_refused_and_go_on_after_the_commit(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with Engine(SqliteDriver(path, lock_timeout_s=FOREVER_S)) as engine:
        engine.register(FLOW)
        with open_transaction(path) as db:
            with pytest.raises(Unavailable, match="this process has open"):
                engine.start(FLOW, id="a")
            engine.start(FLOW, id="b", tx=db)
            db.execute("COMMIT")
        assert engine.run_until_idle().completed == 1
        assert [run.id for run in engine.runs()] == ["b"]


def test_the_transaction_of_another_process_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with Engine(SqliteDriver(path, lock_timeout_s=0.1)) as engine:
        command = [sys.executable, "-c", OTHER, str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "begun\n"
            assert not held_here(path)
            with pytest.raises(Unavailable, match="another program holds a write transaction"):
                engine.start(FLOW, id="a")
            other.communicate()
        engine.start(FLOW, id="a")
