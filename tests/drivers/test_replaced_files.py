"""A store whose files are removed or replaced while it is open acknowledges nothing more; a worker ends with that error."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from stepflow import Engine, NotFound, StepflowError, StoreReplaced, named
from stepflow.drivers.port.store import Driver
from stepflow.drivers.rocksdb import RocksdbDriver
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.testing import VirtualClock

pytestmark = pytest.mark.usefixtures("forking")
FLOW = named("x", dict).do("a", lambda d: None).wait_event("w", "e", int, lambda d, n: None).compile()
SUFFIXES = ("", "-wal", "-shm", "-locks")


def _files(path: Path) -> list[Path]:
    return [found for suffix in SUFFIXES if (found := path.with_name(path.name + suffix)).exists()]


def remove(path: Path) -> None:
    """Remove all files of the store."""
    for file in _files(path):
        shutil.rmtree(file) if file.is_dir() else file.unlink()


def remove_the_file_only(path: Path) -> None:
    """Remove the database alone, or what is in the directory of the store."""
    if path.is_dir():
        for file in path.iterdir():
            file.unlink()
    else:
        path.unlink()


def replace(path: Path) -> None:
    """Put another store at the path, as a restore of a backup does."""
    other = path.with_name("backup")
    with Engine(_driver(path, other)) as engine:
        engine.start(FLOW, {}, id="restored")
    remove(path)
    other.rename(path)


def move(path: Path) -> None:
    """Rename the store."""
    path.rename(path.with_name("elsewhere"))


def _driver(like: Path, path: Path) -> Driver:
    return RocksdbDriver(path) if like.is_dir() else SqliteDriver(path)


@pytest.fixture(params=[SqliteDriver, RocksdbDriver])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Driver:
    return request.param(tmp_path / "store")


HARM = pytest.mark.parametrize("harm", [remove, remove_the_file_only, replace, move])
VERBS: dict[str, Callable[[Engine], object]] = {
    "start": lambda engine: engine.start(FLOW, {}, id="after"),
    "start_many": lambda engine: engine.start_many(FLOW, [("after", {})]),
    "publish": lambda engine: engine.get("before").publish("e", 1),
    "cancel": lambda engine: engine.get("before").cancel(),
    "work": lambda engine: engine.run_until_idle(),
}


@HARM
@pytest.mark.parametrize("verb", VERBS)
def test_nothing_more_is_acknowledged(driver, harm, verb):
    with Engine(driver, clock=VirtualClock()) as engine:
        engine.register(FLOW)
        engine.start(FLOW, {}, id="before")
        engine.run_until_idle()
        engine.start(FLOW, {}, id="due")
        harm(driver.path)
        with pytest.raises(StoreReplaced, match=r"was (removed|replaced)"):
            VERBS[verb](engine)


@HARM
def test_another_process_works_on_what_is_there_now(driver, harm):
    with Engine(driver, clock=VirtualClock()) as engine:
        engine.start(FLOW, {}, id="before")
        harm(driver.path)
        with pytest.raises(StoreReplaced):
            engine.start(FLOW, {}, id="after")
    look = f"from stepflow import Engine\nwith Engine({driver.url!r}) as e: print([run.id for run in e.runs()])"
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout == ("['restored']\n" if harm is replace else "[]\n")


@HARM
def test_a_worker_ends_with_the_error(driver, harm):
    with Engine(driver) as engine:
        engine.register(FLOW)
        harm(driver.path)
        with pytest.raises(StoreReplaced):
            engine.run_forever()


@HARM
def test_a_background_worker_says_so_and_raises_it_at_its_end(driver, harm, caplog):
    def work() -> None:
        with engine.worker():
            harm(driver.path)
            with pytest.raises(StoreReplaced):
                engine.start(FLOW, {}, id="before")
            assert ended.wait(60)

    def hears(record: logging.LogRecord) -> bool:
        if "the worker ends" in record.getMessage():
            ended.set()
        return True

    ended = threading.Event()
    caplog.handler.addFilter(hears)
    with Engine(driver) as engine:
        engine.register(FLOW)
        with pytest.raises(StoreReplaced):
            work()


def test_reads_notice_it_and_make_no_new_file(tmp_path):
    driver = SqliteDriver(tmp_path / "store")
    with Engine(driver, clock=VirtualClock()) as engine:
        engine.start(FLOW, {}, id="before")
        remove(driver.path)
        with pytest.raises(StoreReplaced):
            engine.runs()
        assert not driver.path.exists()
        with pytest.raises(StepflowError, match="does not exist"):
            driver.maintenance("").check()
        assert not driver.path.exists()


@HARM
def test_reads_are_refused(driver, harm):
    with Engine(driver) as engine:
        engine.start(FLOW, {}, id="before")
        harm(driver.path)
        for read in (engine.runs, engine.get("before").info, engine.get("before").history, engine.tally):
            with pytest.raises(StoreReplaced):
                read()


@HARM
def test_no_second_engine_of_a_driver_opens_what_is_there_now(driver, harm):
    with Engine(driver):
        harm(driver.path)
        with pytest.raises(StoreReplaced), Engine(driver, namespace="other"):
            pass
    if isinstance(driver, SqliteDriver):  # the lock of a RocksDB directory that was replaced stays with the process
        with Engine(driver, namespace="other") as engine:
            engine.start(FLOW, {})


def test_a_link_that_moves_on_is_noticed(tmp_path):
    for name in ("one", "two"):
        with Engine(f"sqlite:///{tmp_path}/{name}"):
            pass
    current = tmp_path / "current"
    current.symlink_to(tmp_path / "one")
    with Engine(SqliteDriver(current), clock=VirtualClock()) as engine:
        engine.start(FLOW, {}, id="before")
        current.unlink()
        current.symlink_to(tmp_path / "two")
        with pytest.raises(StoreReplaced, match="replaced"):
            engine.start(FLOW, {}, id="after")


def test_a_transaction_of_the_caller_on_the_new_file_is_refused(tmp_path):
    driver = SqliteDriver(tmp_path / "store")
    with Engine(driver, clock=VirtualClock()) as engine:
        replace(driver.path)
        with closing(sqlite3.connect(driver.path)) as tx, pytest.raises(StoreReplaced):
            engine.start(FLOW, {}, id="after", tx=tx)


def test_a_store_that_stays_is_not_suspected(driver):
    with Engine(driver, clock=VirtualClock()) as engine:
        engine.register(FLOW)
        run = engine.start(FLOW, {}, id="before")
        engine.run_until_idle()
        os.utime(driver.path)
        run.publish("e", 1)
        assert engine.run_until_idle().completed == 1
        with pytest.raises(NotFound):
            engine.get("other").status()


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077, 0o027])
def test_files_get_the_permissions_that_the_umask_leaves(tmp_path, mask):
    path = tmp_path / "store.db"
    with umask(mask), Engine(SqliteDriver(path)) as engine:
        engine.start(FLOW, {}, id="one")
        found = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.rglob("*")}
    assert {"store.db", "store.db-wal", "store.db-shm", "store.db-locks"} <= set(found)
    assert {found[f"store.db{suffix}"] for suffix in ("", "-wal", "-shm")} == {0o666 & ~mask}
    assert found["store.db-locks"] == 0o777 & ~mask


def test_a_file_that_exists_keeps_its_permissions(tmp_path):
    path = tmp_path / "store.db"
    path.touch(0o640)
    with umask(0), Engine(SqliteDriver(path)) as engine:
        engine.start(FLOW, {}, id="one")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
