"""The index of revisions: what a batch wrote together is found one by one, also when parts of it were pruned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.queries import HistoryQuery, Revision
from stepflow.drivers.port.store import Store
from stepflow.drivers.rocksdb import RocksdbDriver
from stepflow.drivers.rocksdb.disk import Disk
from stepflow.drivers.rocksdb.keys import Keys, after
from stepflow.testing.conformance.kit import NOW, as_member, claim, creation, ended, going, make, step

RUNS, STEPS = 6, 4
ENDING, PRUNED = {1, 4, 5}, {1, 4}
LABELS = [{"k": "v"} if n % 2 else {} for n in range(RUNS)]
HEAD = RUNS * (STEPS + 1) + 3  # three creations come between the steps


def connect(path: Path) -> Store:
    return RocksdbDriver(path).connect("", Owner("me", "host", 1), NOW)


def fill(store: Store) -> None:
    """Steps of all runs in the same commits, with a creation in the middle of some."""
    revs = make(store, *[creation(f"b{n}", labels=LABELS[n]) for n in range(RUNS)])
    held = list(claim(store).values())
    for turn in range(STEPS):
        last = turn == STEPS - 1
        steps = [
            as_member(
                step(
                    one,
                    rev,
                    ended() if last and n in ENDING else going(str(turn)),
                    labels=LABELS[n],
                    end=last and n in ENDING,
                )
            )
            for n, (one, rev) in enumerate(zip(held, revs, strict=True))
        ]
        middle = [] if last else [creation(f"x{turn}", due=None)]
        made = make(store, *steps[: turn * 2], *middle, *steps[turn * 2 :], now=NOW - 9 if last else NOW + turn)
        revs = made[: turn * 2] + made[turn * 2 + len(middle) :]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    path = tmp_path_factory.mktemp("revs") / "store"
    store = connect(path)
    fill(store)
    maintenance = RocksdbDriver(path).maintenance("")
    assert maintenance.check() == []
    assert maintenance.prune(NOW - 8, len(PRUNED)) == len(PRUNED)
    assert maintenance.check() == []
    yield store
    store.close()


@pytest.fixture(scope="module")
def every(store: Store) -> list[Revision]:
    names = [f"b{n}" for n in range(RUNS)] + [f"x{turn}" for turn in range(STEPS - 1)]
    found = [revision for name in names for revision in store.read(HistoryQuery(name))]
    assert len(found) == HEAD - len(PRUNED) * (STEPS + 1)
    return sorted(found, key=lambda revision: revision.state.rev)


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=300)
@given(
    since_rev=st.integers(0, HEAD + 2),
    until=st.none() | st.integers(0, HEAD + 2),
    since=st.sampled_from([0, NOW - 9, NOW, NOW + 1, NOW + 2]),
    labels=st.sampled_from([(), ({"k": "v"},)]),
    limit=st.integers(0, HEAD),
    last=st.booleans(),
)
def test_every_part_of_the_history_in_both_directions(
    store: Store, every: list[Revision], since_rev: int, until: int | None, since: int, labels: tuple[dict[str, str], ...],
    limit: int, last: bool,
) -> None:  # fmt: skip
    want = [
        revision
        for revision in every
        if since_rev < revision.state.rev <= (HEAD if until is None else until)
        and revision.state.committed_at >= since
        and (not labels or revision.state.labels == labels[0])
    ]
    query = HistoryQuery(None, since_rev, limit, last, labels, since, until_rev=until)
    assert store.read(query) == (want[max(len(want) - limit, 0) :] if last else want[:limit])


def test_a_batch_has_few_records_and_a_pruned_one_none(tmp_path: Path) -> None:
    path, prefix = tmp_path / "store", Keys("").revs
    store = connect(path)
    fill(store)
    store.close()

    def records() -> int:
        disk = Disk(path)
        try:
            return len(list(disk.scan(prefix, after(prefix))))
        finally:
            disk.close()

    # a record for each creation, and of each batch of steps one before and one behind the creation in its middle
    assert records() == RUNS + 3 + (1 + 2 + 2 + 1)
    assert RocksdbDriver(path).maintenance("").prune(NOW, 100) == len(ENDING)
    # those of the creations, and the one behind the creation of the third batch: b4 and b5 alone are in it
    assert records() == RUNS + 3 + (1 + 2 + 2 + 1) - len(ENDING) - 1
