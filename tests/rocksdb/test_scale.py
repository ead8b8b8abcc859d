"""A list on RocksDB of few runs does not grow with the open ones that it does not mean: counted in index keys that are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stepflow.drivers.port.commit import Commit
from stepflow.drivers.port.schedules import ScheduleChange, ScheduleQuery
from stepflow.drivers.rocksdb import RocksdbDriver
from stepflow.drivers.rocksdb.disk import Cursor, Disk
from stepflow.drivers.rocksdb.keys import Keys, number
from stepflow.testing.conformance.kit import NOW, Sessions, make
from tests.drivers import rare

BOUNDED = ("running", "blocked", "paused", "queued", "old label", "label of few", "label and status")


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many keys scans and cursors have read."""
    read = [0]

    def counting(function: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def counted(*args: Any) -> Iterator[Any]:
            for row in function(*args):
                read[0] += 1
                yield row

        return counted

    def stepping(function: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*args: Any) -> Any:
            read[0] += 1
            return function(*args)

        return stepped

    monkeypatch.setattr(Disk, "_up", counting(Disk._up))
    monkeypatch.setattr(Disk, "_down", counting(Disk._down))
    monkeypatch.setattr(Cursor, "step", stepping(Cursor.step))
    return read


def test_lists_of_few_open_runs_do_not_grow_with_the_others(tmp_path: Path, keys: list[int]) -> None:
    sessions = Sessions(RocksdbDriver(tmp_path / "store"))
    store = sessions.session()
    rare.fill(store)
    costs = []
    for first, last in ((0, 500), (500, 6_000)):
        rare.sleepers(store, first, last)
        cost = {}
        for name, query in rare.QUERIES.items():
            before = keys[0]
            store.read(query)
            cost[name] = keys[0] - before
        costs.append(cost)
    rare.check(store)
    sessions.close()
    checked = {name: cost for name, cost in costs[1].items() if name.split(",")[0] in BOUNDED}
    assert len(checked) > len(BOUNDED)
    assert {name: (costs[0][name], cost) for name, cost in checked.items() if cost > 1.2 * costs[0][name] + 5} == {}


def test_a_look_at_what_is_due_does_not_pass_deleted_rows_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run with a time limit leaves such a row when it ends: a look passed all of them until RocksDB had compacted its files."""
    sessions, starts, scan = Sessions(RocksdbDriver(tmp_path / "store")), list[bytes](), Disk.scan
    prefix = Keys("").ticks

    def noting(disk: Disk, start: bytes, stop: bytes) -> Iterator[Any]:
        if start.startswith(prefix):
            starts.append(start)
        return scan(disk, start, stop)

    monkeypatch.setattr(Disk, "scan", noting)
    store, versions = sessions.session(), dict[int, int]()

    def put(after: int) -> None:
        make(store, Commit(schedule=ScheduleChange(f"s{after}", 0, NOW + after, "{}")))
        versions[after] = store.read(ScheduleQuery(f"s{after}"))[0].version

    def first() -> int | None:
        due = store.next_due({}, NOW).schedule
        rows = store.read(ScheduleQuery(until=NOW + 10**9, limit=1))
        assert [row.due for row in rows] == ([] if due is None else [due])
        return None if due is None else due - NOW

    for after in range(10, 20):
        put(after)
    for after in range(10, 19):
        assert first() == after
        make(store, Commit(schedule=ScheduleChange(f"s{after}", versions[after], None, None)))
    assert first() == 19
    del starts[:]
    assert first() == 19
    assert all(start >= prefix + number(NOW + 19) for start in starts)
    for earlier in (18, 5, 30):
        put(earlier)
        assert first() == min(earlier, 5 if 5 in versions else earlier)
    for after in (5, 18, 19, 30):
        assert first() == after
        make(store, Commit(schedule=ScheduleChange(f"s{after}", versions[after], None, None)))
    assert first() is None
    put(7)
    assert (first(), sessions.session().next_due({}, NOW).schedule) == (7, NOW + 7)
    sessions.close()
