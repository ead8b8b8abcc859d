"""A worker that is stopped (SIGSTOP) is taken over; what it writes when it goes on is refused."""

from __future__ import annotations

import signal
import sqlite3
from pathlib import Path

import pytest

from stepflow import Engine
from stepflow.drivers.sqlite.locks import LockFile
from tests.processes import flows
from tests.processes.flows import Count
from tests.processes.harness import Child, Nursery, seconds


def stop_outside_of_writes(nursery: Nursery, child: Child) -> None:
    """SIGSTOP, but not while the process holds the write lock: then everybody would wait for it."""
    for _ in range(100):
        child.stop()
        if _writable(nursery.path):
            return
        child.send(signal.SIGCONT)
    raise AssertionError(f"{child.name} writes all the time")


def _writable(path: Path) -> bool:
    locks = [LockFile(path.with_name(f"{path.name}-locks") / name) for name in ("gate", "turn")]
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        if not all(lock.try_lock() for lock in locks):
            return False
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return False
    else:
        return True
    finally:
        connection.close()
        for lock in locks:
            lock.close()


def take_over(nursery: Nursery, name: str, silence: float | None) -> None:
    options = {} if silence is None else {"SILENCE_S": silence}
    flow = getattr(flows, name)
    with Engine(nursery.url) as engine:
        run = engine.start(flow, Count(), id="stolen")
        first = nursery.spawn("forever", name, **options)
        nursery.log.wait(what="begin")
        stop_outside_of_writes(nursery, first)
        second = nursery.spawn("forever", name, **options)
        again = nursery.log.wait(what="begin", who=second.name)[0]
        nursery.gate.open(3)
        assert run.result(30) == Count(3)
        history = run.history()
        print(f"taken over {seconds(second.born, again.at):.2f} s after the second worker was started")

        nursery.gate.open(1)  # the first worker's step ends now, long after its claim was lost
        first.send(signal.SIGCONT)
        nursery.log.wait(what="end", who=first.name)
        other = engine.start(flow, Count(), id="next")  # by whichever of the two; both are alive
        nursery.gate.open(3)
        assert other.result(30) == Count(3)
        for child in (first, second):
            child.send(signal.SIGTERM)
            assert child.wait() == 0, child.stderr()
        assert "run stolen was taken over" in first.stderr()
        assert run.history() == history
        assert [e.exchange["n"] for e in history] == [0, 1, 2, 3]
        assert again.attempt == 2
        assert len(nursery.log.entries("begin", first.name)) in (1, 1 + 3)  # it never began another step of that run


@pytest.mark.parametrize("name", ["gated", "agated"])
def test_a_stopped_worker_is_taken_over_and_its_late_write_is_refused(nursery: Nursery, name: str) -> None:
    take_over(nursery, name, silence=2.0)


@pytest.mark.soak
def test_a_stopped_worker_is_taken_over_after_ten_seconds(nursery: Nursery) -> None:
    take_over(nursery, "gated", silence=None)


def test_run_until_idle_waits_for_the_verdict_over_a_stopped_holder(nursery: Nursery) -> None:
    with Engine(nursery.url) as engine:
        run = engine.start(flows.gated, Count(), id="held")
        first = nursery.spawn("forever", "gated")
        nursery.log.wait(what="begin")
        stop_outside_of_writes(nursery, first)
        nursery.gate.open(3)
        second = nursery.spawn("until_idle", "gated", SILENCE_S=2.0)
        assert nursery.log.wait(what="idle", who=second.name)[0].note == [1, 0, 0]
        assert run.result(0) == Count(3)


def test_run_until_idle_does_not_wait_for_a_holder_that_lives(nursery: Nursery) -> None:
    with Engine(nursery.url) as engine:
        run = engine.start(flows.gated, Count(), id="held")
        nursery.spawn("forever", "gated")
        nursery.log.wait(what="begin")
        second = nursery.spawn("until_idle", "gated")
        assert nursery.log.wait(what="idle", who=second.name)[0].note == [0, 0, 0]
        assert run.status() == "running"


def test_workers_that_were_all_stopped_together_do_not_bury_each_other(nursery: Nursery) -> None:
    with Engine(nursery.url) as engine:
        runs = [engine.start(flows.gated, Count(), id=f"run-{i}") for i in range(2)]
        staff = [nursery.spawn("forever", "gated", concurrency=1, SILENCE_S=2.5) for _ in runs]
        for child in staff:
            nursery.log.wait(what="begin", who=child.name)
        nursery.log.pause(1.5)  # each has seen the other's heart beat
        for child in staff:
            stop_outside_of_writes(nursery, child)
        nursery.log.pause(3.5)  # a laptop's lid, a frozen container
        for child in staff:
            child.send(signal.SIGCONT)
        nursery.log.pause(1.5)
        nursery.gate.open(6)
        for run in runs:
            assert run.result(30) == Count(3)
        assert all(e.attempt == 1 for e in nursery.log.entries("begin"))
