"""A list on RocksDB of few runs does not grow with the open ones that it does not mean: counted in index keys that are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stepflow.drivers.rocksdb import RocksdbDriver
from stepflow.drivers.rocksdb.disk import Cursor, Disk
from stepflow.testing.conformance.kit import Sessions
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
