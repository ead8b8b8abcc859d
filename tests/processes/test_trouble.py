"""The store fails for a while, a call is cancelled, a WAL is left behind: the process continues and loses nothing."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path

from stepflow import Engine
from stepflow.drivers.sqlite import SqliteDriver
from tests.processes import flows
from tests.processes.checks import check_chain, check_file, histories, start_many
from tests.processes.flows import Count
from tests.processes.harness import Nursery


def test_a_worker_outlives_another_program_that_keeps_the_file_locked(nursery: Nursery) -> None:
    with Engine(nursery.url) as engine:
        runs = [engine.start(flows.gated, Count(), id=f"run-{i}") for i in range(4)]
        worker = nursery.spawn("forever", "gated", lock_timeout_s=0.2)
        nursery.log.wait(4, what="begin")
        stranger = sqlite3.connect(nursery.path, isolation_level=None)
        try:
            stranger.execute("BEGIN IMMEDIATE")
            nursery.gate.open(4)  # the steps end, and cannot be committed
            nursery.log.wait(4, what="end")
            nursery.log.pause(3.0)
            assert {run.status().value for run in runs} == {"running"}
            stranger.execute("ROLLBACK")
        finally:
            stranger.close()
        nursery.gate.open(100)
        assert [run.result(60) for run in runs] == [Count(3)] * 4
        assert not worker.ended()
        assert {run.info().crashes for run in runs} == {0}


def test_a_cancelled_run_until_idle_leaves_no_run_with_nobody(nursery: Nursery) -> None:
    ids = start_many(nursery.url, flows.async_chain, 300)
    child = nursery.spawn("interrupted", "async_chain")
    assert child.wait() == 0, child.stderr()
    assert nursery.log.entries("interrupted")[0].note > 0
    for entries in histories(nursery.url, ids).values():
        check_chain("async_chain", entries)
    effects = [(e.run, e.step) for e in nursery.log.entries("step")]
    assert set(effects) == {(run_id, f"s{n:02}") for run_id in ids for n in range(flows.CHAIN)}


def test_a_write_ahead_log_that_was_left_behind_is_taken_up_again(nursery: Nursery, tmp_path: Path) -> None:
    """Copies of the files at any moment, torn ones too, can be opened and continue."""
    chance = random.Random(5)
    ids = start_many(nursery.url, flows.async_chain, 150)
    child = nursery.spawn("until_idle", "async_chain")
    nursery.log.wait(300, what="step")
    child.kill()
    wal = Path(f"{nursery.path}-wal")
    assert wal.stat().st_size > 0
    acknowledged = histories(nursery.copy(), ids)
    for number in range(6):
        copy = tmp_path / f"torn-{number}.db"
        shutil.copyfile(nursery.path, copy)
        size = wal.stat().st_size if number == 0 else chance.randrange(wal.stat().st_size)
        Path(f"{copy}-wal").write_bytes(wal.read_bytes()[:size])
        assert SqliteDriver(copy).maintenance("").check() == []
        for run_id, entries in histories(f"sqlite:///{copy}", ids[:40]).items():
            assert entries == acknowledged[run_id][: len(entries)]
            assert number > 0 or len(entries) == len(acknowledged[run_id])
    assert nursery.spawn("until_idle", "async_chain").wait() == 0
    for entries in histories(nursery.url, ids).values():
        check_chain("async_chain", entries)
    check_file(nursery.path)
