"""Another worker takes over the runs of a stopped one (SIGSTOP); its late writes are refused. For any store."""

from __future__ import annotations

import signal
import sqlite3
from pathlib import Path

import psycopg

from stepflow import Engine
from stepflow.drivers.sqlite.locks import LockFile
from tests.processes import flows
from tests.processes.flows import Count
from tests.processes.harness import Child, Nursery, seconds

OPEN = "select count(*) from pg_stat_activity where application_name = 'stepflow' and state like 'idle in transaction%'"


def stop_outside_of_writes(nursery: Nursery, child: Child) -> None:
    """SIGSTOP, but not while the process holds a lock of the store: then everybody would wait for it."""
    for _ in range(100):
        child.stop()
        if _writable(nursery.path) if nursery.url.startswith("sqlite") else _at_rest(nursery.url):
            return
        child.send(signal.SIGCONT)
    raise AssertionError(f"{child.name} writes all the time")


def _at_rest(url: str) -> bool:
    with psycopg.connect(url.partition("&schema=")[0]) as connection:
        return connection.execute(OPEN).fetchone() == (0,)


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
    """Stop the owner of a run until another worker has ended it, then continue it: its writes have no effect."""
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
        assert run.result(60) == Count(3)
        history = run.history()
        print(f"taken over {seconds(second.created, again.at):.2f} s after the second worker was started")

        nursery.gate.open(1)  # the first worker's step ends now, long after its claim was lost
        first.send(signal.SIGCONT)
        nursery.log.wait(what="end", who=first.name)
        other = engine.start(flow, Count(), id="next")  # by whichever of the two; both are alive
        nursery.gate.open(3)
        assert other.result(60) == Count(3)
        for child in (first, second):
            child.send(signal.SIGTERM)
            assert child.wait() == 0, child.stderr()
        assert "run stolen: this worker does not go on with it" in first.stderr()
        assert run.history() == history
        assert [e.exchange["n"] for e in history] == [0, 1, 2, 3]
        assert again.attempt == 2
        assert len(nursery.log.entries("begin", first.name)) in (1, 1 + 3)  # it never began another step of that run
