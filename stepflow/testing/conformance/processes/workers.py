"""Laws between processes: several workers on one store, killed, stopped and forked ones."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from stepflow.drivers.port.commit import Release
from stepflow.drivers.port.queries import HistoryQuery
from stepflow.drivers.port.store import Driver, Store
from stepflow.testing.conformance.kit import NOW, Sessions, claim, creation, make, record, step
from stepflow.testing.conformance.processes.child import STEPS

RUNS = 24


@contextmanager
def child(role: str, driver: Driver, owner: str) -> Iterator[subprocess.Popen[str]]:
    """A process on the driver's store; killed at the end if it still runs."""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "stepflow.testing.conformance.processes.child", role, driver.url, owner],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def lines(process: subprocess.Popen[str], most: int | None = None) -> list[list[str]]:
    """What the process says, up to `most` lines or to its end."""
    assert process.stdout is not None
    found: list[list[str]] = []
    while (most is None or len(found) < most) and (line := process.stdout.readline()).endswith("\n"):
        found.append(line.split())
    return found


def locks(store: Store) -> dict[str, str]:
    """What the store can tell of the other owners, by id."""
    return {peer.owner.id: peer.lock for peer in store.beat(NOW).peers}


class ProcessLaws:
    """For stores that several processes of a machine may open; needs the fixture `sessions` of DriverLaws."""

    def _steps(self, store: Store, run_id: str) -> list[int]:
        return [int(revision.exchange) for revision in store.read(HistoryQuery(run_id, limit=100))]

    def test_law_8_what_was_acknowledged_outlives_a_kill(self, sessions: Sessions) -> None:
        chance = random.Random(8)  # noqa: S311
        ids = [f"r{n}" for n in range(RUNS)]
        store = sessions.session()
        make(store, *[creation(run_id, exchange="0") for run_id in ids])
        said: list[list[str]] = []
        for turn in range(4):
            with child("work", sessions.driver, f"worker{turn}") as process:
                said += lines(process, chance.randrange(1, 55))
                process.send_signal(signal.SIGKILL)
                said += lines(process)
            assert sessions.driver.maintenance("").check() == []
            # A quick worker has ended, and gone, before the signal reaches it.
            assert locks(store) in ({}, {f"worker{turn}": "free"})
            store.beat(NOW, dead=[f"worker{turn}"])
            self._repair(store)
            self._verify(store, said)
        with child("work", sessions.driver, "last") as process:
            said += lines(process)
        self._verify(store, said)
        assert {run_id: self._steps(store, run_id) for run_id in ids} == {
            run_id: list(range(STEPS + 1)) for run_id in ids
        }

    def _repair(self, store: Store) -> None:
        """Clear the suspicion, so that the next worker gets every run again."""
        suspects = claim(store, suspects=True).values()
        store.release([Release(found.fence, NOW, crashes=0) for found in suspects], NOW)

    def _verify(self, store: Store, said: list[list[str]]) -> None:
        ids = {run_id for run_id, _rev, _number in said}
        revs = {r.state.rev: r for run_id in ids for r in store.read(HistoryQuery(run_id, limit=100))}
        assert len({rev for _id, rev, _n in said}) == len(said)
        for run_id, rev, number in said:
            assert (revs[int(rev)].state.id, revs[int(rev)].exchange) == (run_id, number)

    def test_law_5_several_processes_share_the_work(self, sessions: Sessions) -> None:
        store = sessions.session()
        ids = [f"r{n}" for n in range(RUNS * 3)]
        make(store, *[creation(run_id, exchange="0") for run_id in ids])
        with (
            child("work", sessions.driver, "a") as a,
            child("work", sessions.driver, "b") as b,
            child("work", sessions.driver, "c") as c,
        ):
            said = [line for process in (a, b, c) for line in lines(process)]
            assert [process.wait(60) for process in (a, b, c)] == [0, 0, 0]
        assert len(said) == len(ids) * STEPS
        self._verify(store, said)
        assert {run_id: self._steps(store, run_id) for run_id in ids} == {
            run_id: list(range(STEPS + 1)) for run_id in ids
        }

    def test_law_4_an_owner_that_was_stopped_is_fenced_when_it_goes_on(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("a"), creation("b"))
        with child("hold", sessions.driver, "sleeper") as process:
            assert lines(process, 1) == [["held", "2"]]
            process.send_signal(signal.SIGSTOP)
            assert locks(store) == {"sleeper": "held"}  # a held lock does not prove life
            store.beat(NOW, dead=["sleeper"])
            held = claim(store)
            revs = make(store, *[step(found, found.row.claim_rev) for found in held.values()])
            process.send_signal(signal.SIGCONT)
            out, _err = process.communicate("go on\n", timeout=60)
        assert out.split() == ["LostClaim", "LostClaim"]
        assert [record(store, run_id).state.rev for run_id in held] == revs

    def test_law_6_a_lock_is_held_while_the_owner_lives_and_free_when_it_died(self, sessions: Sessions) -> None:
        store = sessions.session()
        with child("hold", sessions.driver, "killed") as process:
            lines(process, 1)
            assert locks(store) == {"killed": "held"}
            process.send_signal(signal.SIGKILL)
            process.wait(60)
            assert locks(store) == {"killed": "free"}
        store.beat(NOW, dead=["killed"])
        assert locks(store) == {}

    def test_law_6_a_forked_child_does_not_keep_its_dead_parent_alive(self, sessions: Sessions) -> None:
        store = sessions.session()
        with child("fork", sessions.driver, "parent") as process:
            lines(process, 1)
            assert locks(store) == {"parent": "held"}
            process.send_signal(signal.SIGKILL)
            process.wait(60)
            assert locks(store) == {"parent": "free"}  # while the forked process waits for a word

    def test_several_processes_may_open_a_new_store_at_once(self, sessions: Sessions) -> None:
        with (
            child("work", sessions.driver, "a") as a,
            child("work", sessions.driver, "b") as b,
            child("work", sessions.driver, "c") as c,
        ):
            assert [process.wait(60) for process in (a, b, c)] == [0, 0, 0]
        assert sessions.driver.maintenance("").check() == []

    @pytest.mark.parametrize("role", ["work", "hold"])
    def test_an_owner_that_ends_well_leaves_nothing_behind(self, sessions: Sessions, role: str) -> None:
        store = sessions.session()
        with child(role, sessions.driver, "tidy") as process:
            process.communicate("go on\n", timeout=60)
            assert process.returncode == 0
        assert locks(store) == {}
