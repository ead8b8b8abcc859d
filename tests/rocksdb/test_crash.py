"""Whatever moment the process dies at, the store opens again with everything that was acknowledged."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stepflow.drivers.memory import MemoryDriver
from stepflow.drivers.port.commit import Release
from stepflow.drivers.port.queries import HistoryQuery
from stepflow.drivers.port.store import Store
from stepflow.drivers.rocksdb import RocksdbDriver
from stepflow.testing.conformance.kit import NOW, claim, creation, make
from stepflow.testing.conformance.processes.child import STEPS
from stepflow.testing.conformance.processes.workers import lines
from tests.rocksdb.child import IDS, SCRIPT, connect

pytestmark = pytest.mark.usefixtures("forking")

ROOT = Path(__file__).parents[2]
PIPE = 4096  # bytes that a child may say without being heard
RUNS = 100  # of `STEPS` steps: a worker says more than three times as much
MOMENTS = 3 * (len(SCRIPT) + 3)  # before and after each write, and after its sync


@contextmanager
def child(*words: object, module: str = "tests.rocksdb.child") -> Iterator[subprocess.Popen[str]]:
    """A process on the store; killed at the end if it still runs."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), *sys.path))}
    command = [sys.executable, "-m", module, *map(str, words)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pipesize=PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def says(*words: object) -> str:
    """All that a child says."""
    with child(*words) as process:
        return process.communicate(timeout=250)[0]


def _look(store: Store) -> Any:
    """The whole content, without the numbers that a refused or lost call may have used up."""
    records = store.load(IDS)
    rows = [record and record.row and record.row._replace(epoch=0) for record in records]
    events = [record and [event.id for event in record.events] for record in records]
    return [record and (record.state, record.created, record.exchange) for record in records], rows, events


def _model() -> list[Any]:
    """What a store looks like after each call of the script and after its end, by the memory model."""
    driver = MemoryDriver()
    store = connect(driver, "child")
    seen = [_look(store)]
    for call in SCRIPT:
        call(store)
        seen.append(_look(store))
    store.close()
    return [*seen, _look(connect(driver, "other"))]


def test_every_moment_of_writing(tmp_path: Path) -> None:
    model, died, acknowledged, moment = _model(), 0, 0, 0
    for line in says("scripts", tmp_path, MOMENTS).split():
        if line.isdecimal():
            acknowledged = int(line)
            continue
        moment, killed = moment + 1, line == "killed"
        driver = RocksdbDriver(tmp_path / f"{moment}" / "store")
        store = connect(driver, "next")
        assert _look(store) in model[acknowledged : acknowledged + 2] or not killed
        assert driver.maintenance("").check() == []
        held = {row.owner for row in _look(store)[1] if row} - {""}
        locks = {peer.owner.id: peer.lock for peer in store.beat(NOW).peers}
        assert held <= locks.keys() <= {"child"}
        assert set(locks.values()) <= {"free"}
        store.beat(NOW, dead=list(locks))
        assert {row.owner for row in _look(store)[1] if row} <= {""}
        store.close()
        died, acknowledged = died + killed, 0
    assert moment == MOMENTS
    assert len(SCRIPT) * 3 < died < MOMENTS


def _verify(store: Store, said: list[list[str]]) -> None:
    revs = {revision.state.rev: revision for revision in store.read(HistoryQuery(limit=10_000))}
    assert [(revs[int(rev)].state.id, revs[int(rev)].exchange) for _id, rev, _n in said] == [
        (run_id, number) for run_id, _rev, number in said
    ]


def test_kills_at_random_lose_nothing(tmp_path: Path) -> None:
    chance, driver, said = random.Random(9), RocksdbDriver(tmp_path / "store"), []
    store = connect(driver, "parent")
    make(store, *[creation(f"r{n}", exchange="0") for n in range(RUNS)])
    store.close()
    for turn in range(5):
        last = turn == 4
        with child(
            "work", driver.url, f"worker{turn}", module="stepflow.testing.conformance.processes.child"
        ) as process:
            said += lines(process, None if last else chance.randrange(1, 45))
            if not last:
                process.send_signal(signal.SIGKILL)
            said += lines(process)
            killed = process.wait(60) != 0
        store = connect(driver, f"parent{turn}")
        assert driver.maintenance("").check() == []
        locks = {peer.owner.id: peer.lock for peer in store.beat(NOW).peers}
        done = all(len(store.read(HistoryQuery(f"r{n}", limit=100))) == STEPS + 1 for n in range(RUNS))
        assert killed or done
        assert turn > 0 or not done
        assert locks == {f"worker{turn}": "free"} or (done and not locks)  # it may have left before the signal
        store.beat(NOW, dead=[f"worker{turn}"])
        suspects = claim(store, suspects=True).values()
        store.release([Release(found.fence, NOW, crashes=0) for found in suspects], NOW)
        _verify(store, said)
        store.close()
    assert done


def test_a_second_process_is_told_whom_to_stop(tmp_path: Path) -> None:
    store = connect(RocksdbDriver(tmp_path / "store"), "first")
    said = says("refused", tmp_path / "store")
    assert said.startswith(f"Unavailable {tmp_path / 'store'} is open in process {os.getpid()} on ")
    assert "stop that one first" in said
    make(store, creation("a"))  # the refused process did no harm
    store.close()
    assert says("refused", tmp_path / "store") == ""


def test_another_process_may_look(tmp_path: Path) -> None:
    store = connect(RocksdbDriver(tmp_path / "store"), "first")
    make(store, creation("a"))
    said = says("look", tmp_path / "store").splitlines()
    assert said[0] == "['a']"
    assert said[1].startswith("ReadOnly ")
    make(store, creation("b"))
    store.close()


def test_the_lock_is_free_as_soon_as_its_process_was_killed(tmp_path: Path) -> None:
    driver = RocksdbDriver(tmp_path / "store")
    store = connect(driver, "parent")
    make(store, creation("a"), creation("b"))
    store.close()
    with child("hold", tmp_path / "store") as process:
        assert lines(process, 1) == [["['a',", "'b']"]]
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        store = connect(driver, "next")
        assert [(peer.owner.id, peer.owner.pid, peer.lock) for peer in store.beat(NOW).peers] == [
            ("child", process.pid, "free")
        ]
    store.beat(NOW, dead=["child"])
    assert {run_id: found.row.crashes for run_id, found in claim(store).items()} == {"a": 1, "b": 1}
    store.close()


def test_an_engine_goes_on_where_the_dead_process_was(tmp_path: Path) -> None:
    assert says("engine", tmp_path / "store", "die").split() == ["first", "second"]
    assert says("engine", tmp_path / "store", "die").split() == ["second"]
    assert says("engine", tmp_path / "store").split() == ["second", "third", "completed"]


def test_a_full_disk_loses_nothing_and_is_left_behind(tmp_path: Path) -> None:
    error, counts, problems = says("fill", tmp_path / "store", 200_000).splitlines()
    assert error.startswith("Full ")
    assert "nothing was written" in error
    done, found = counts.split()
    assert int(done) > 5
    assert done == found
    assert problems == "[]"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_is_refused(tmp_path: Path) -> None:
    forked, parent = says("fork", tmp_path / "store").splitlines()
    assert forked.startswith("StoreError ")
    assert "before fork" in forked
    assert parent == "[1]"


def test_without_the_package_the_error_names_the_pip_line(tmp_path: Path) -> None:
    said = says("without", tmp_path / "store")
    assert said.startswith("StoreError ")
    assert "pip install 'stepflow[rocksdb]'" in said
