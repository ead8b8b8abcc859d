"""Law 8 at every commit: a process is killed at any moment of a short history; each commit is there whole, or not at all."""

from __future__ import annotations

import select
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from stepflow.drivers.memory import MemoryDriver
from stepflow.drivers.port.commit import Record
from stepflow.drivers.port.delays import DataQuery, DelayQuery
from stepflow.drivers.port.queries import HistoryQuery
from stepflow.drivers.port.schedules import ScheduleQuery
from stepflow.drivers.port.store import Driver, Store
from stepflow.model.state import State
from stepflow.testing.conformance.kit import NOW, creation, journal, make
from stepflow.testing.conformance.processes.crash_child import HISTORY, IDS, WOKEN, connect

TRIES, PAUSE_S = 100, 0.1  # a server may finish what a dead client had sent


class CrashingProcess:
    """The process whose forked children are killed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def crash(self, namespace: str, call: int, moment: int) -> tuple[int, int]:
        """Have a child killed at a moment of a call; returns the number of acknowledged calls, and of moments in the last one (0: cut off)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{namespace} {call} {moment}\n")
        self._process.stdin.flush()
        done = moments = 0
        while (line := self._process.stdout.readline().split()) != ["over"]:
            assert line[:1] in (["done"], ["moments"]), line
            if line[0] == "done":
                done = int(line[1])
            else:
                moments = int(line[1])
        return done, moments


@contextmanager
def crashing_process(driver: Driver) -> Iterator[CrashingProcess]:
    """A process that works on the driver's store, and ends with the test."""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "stepflow.testing.conformance.processes.crash_child", driver.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield CrashingProcess(process)
    finally:
        process.kill()
        process.communicate()


def snapshot(store: Store) -> Any:
    """The whole content of a store. Revisions are replaced by their rank within the run: their values are the driver's choice."""
    history = sorted(
        store.read(HistoryQuery(limit=1_000)), key=lambda revision: (revision.state.id, revision.state.rev)
    )
    count: Counter[str] = Counter()
    ranks: dict[int, int] = {}
    for revision in history:
        count[revision.state.id] += 1
        ranks[revision.state.rev] = count[revision.state.id]

    def plain(state: State) -> Any:
        return state._replace(
            rev=ranks.get(state.rev, state.rev), labels={**state.labels}, annotations={**state.annotations}
        )

    def shown(found: Record | None) -> Any:
        if found is None:
            return None
        row = found.row
        if row is not None:  # the rank of `claim_rev` tells nothing once the row is free
            row = row._replace(
                epoch=0,
                owner="held" if row.owner else "",
                claim_rev=ranks.get(row.claim_rev, 0) if row.owner else 0,
            )
        return (
            plain(found.state),
            found.created,
            found.exchange,
            row,
            [(event.name, event.payload) for event in found.events],
        )

    delays = [(plain(d.state), d.due, d.commit, d.offset, d.fired) for d in store.read(DelayQuery(2**62))]
    data = [(d.rev, d.blob, {**d.annotations}) for rev in range(1, 4) for d in store.read(DataQuery(rev))]
    records = [shown(found) for found in store.load([*IDS, WOKEN])]
    journals = [journal(store, run_id) for run_id in IDS]
    others = delays, data, journals, store.read(ScheduleQuery())
    return records, [(plain(r.state), r.exchange) for r in history], others


def snapshots() -> list[Any]:
    """What a store shows before the history and after each of its calls, by the memory model."""
    driver = MemoryDriver()
    store, reader = connect(driver, "", "child"), connect(driver, "", "reader")
    seen = [snapshot(reader)]
    for call in HISTORY:
        call(store)
        seen.append(snapshot(reader))
    return seen


class CrashLaws:
    """For stores that outlive their process: subclass it with a fixture `driver` that gives a driver on an empty store."""

    deaths_per_call = 4
    """How many of the moments in each call of the history are tried at most."""

    def test_law_8_a_process_may_die_at_any_moment(self, driver: Driver) -> None:
        seen = snapshots()
        with crashing_process(driver) as process:
            for call in range(1, len(HISTORY) + 1):
                before, after = seen[call - 1 : call + 1]
                done, moments = process.crash(f"{call}-after", call, 0)
                assert (done, moments > 1) == (call - 1, True)
                self._verify(driver, f"{call}-after", [after])  # it was durable before it was acknowledged
                low, high = 0, moments + 1  # between them the call becomes durable: the deaths close in on that
                for turn in range(min(self.deaths_per_call, moments)):
                    moment = (low + high) // 2 if high - low > 1 else 1 + turn * moments // self.deaths_per_call
                    done, _moments = process.crash(f"{call}-{turn}", call, moment)
                    assert done == call - 1
                    shown = self._verify(driver, f"{call}-{turn}", [before, after])
                    low, high = (low, min(high, moment)) if shown == after else (max(low, moment), high)

    def _verify(self, driver: Driver, namespace: str, allowed: Sequence[Any]) -> Any:
        """The store opens, shows an allowed snapshot, passes `check`, reclaims the dead owner and takes commits; returns the snapshot."""
        store = connect(driver, namespace, f"{namespace}-next")
        try:
            for _ in range(TRIES):
                seen = snapshot(store)
                if seen in allowed:
                    break
                select.select([], [], [], PAUSE_S)
            assert seen in allowed, namespace
            assert driver.maintenance(namespace).check() == []
            dead = [peer.owner.id for peer in store.beat(NOW).peers]
            assert dead in ([], [f"{namespace}-child"])
            store.beat(NOW, dead=dead)
            records = [found for found in store.load([*IDS, WOKEN]) if found is not None]
            assert {found.row.owner for found in records if found.row is not None} <= {""}
            newest = max((revision.state.rev for revision in store.read(HistoryQuery(limit=1_000))), default=0)
            assert make(store, creation("next"))[0] > newest
            return seen
        finally:
            store.close()
