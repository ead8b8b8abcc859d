"""A claim that waited for another process begins its runs after the wait: a period has no more of them than the rate."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from stepflow.drivers.port.commit import Commit, Created, Enqueue, Owner, Write
from stepflow.drivers.sqlite import SqliteDriver, locks
from stepflow.model.limits import Limit, dump
from stepflow.model.state import State, Transition

NOW, SECOND = 10**15, 1_000_000
RATE = dump([Limit("api", rate=1, per=5)])


def _start(run_id: str) -> Commit:
    state = State(run_id, 0, Transition("f.v1"), {}, {})
    return Commit(
        writes=(Write(state, "1", Created("f.v1", "h", NOW)),), queue=(Enqueue(run_id, "f.v1", NOW, limits=RATE),)
    )


@pytest.mark.parametrize("file", ["gate", "turn"])
def test_runs_begin_after_the_wait_for_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    store = SqliteDriver(tmp_path / "s.db").connect("", Owner("one", "host", 1), NOW)
    store.commit([_start("a"), _start("b")], NOW)
    other = locks.LockFile(tmp_path / "s.db-locks" / file)  # as another process has it
    assert other.try_lock()
    clock = [100.0]

    def sleep(_seconds: float) -> None:
        clock[0] += 4.0  # it is stopped for this long
        other.unlock()

    monkeypatch.setattr(locks, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: clock[0]))
    assert [claim.fence.id for claim in store.claim({"f.v1": "one"}, NOW, 5)] == ["a"]
    monkeypatch.setattr(locks, "time", time)
    # It began 4 s later than the claim was asked for, so the period of 5 s ends at 9 s.
    assert store.claim({"f.v1": "one"}, NOW + 9 * SECOND - 1, 5) == []
    assert [claim.fence.id for claim in store.claim({"f.v1": "one"}, NOW + 9 * SECOND, 5)] == ["b"]
    other.close()
    store.close()
