"""Queries over labels, times and revisions answer as a look at every revision would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepflow.drivers.port.commit import Commit, Owner, Record, Write
from stepflow.drivers.port.queries import HistoryQuery, Revision, RunQuery, Tally, TallyQuery
from stepflow.drivers.port.store import Store
from stepflow.drivers.rocksdb import RocksdbDriver
from stepflow.model.lifecycle import status_of
from stepflow.model.state import State
from stepflow.testing.conformance.kit import FLOWS, NOW, awaiting, creation, ended, going, make, numbers

LABELS = ({}, {"k": "v"}, {"k": "w"}, {"t": "1"}, {"k": "v", "t": "1"}, {"k": "v", "t": "2", "u": "\0"})
GROUPS = st.lists(st.sampled_from(LABELS), max_size=3).map(tuple)
MOVES = (going("a"), awaiting("e"), ended())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with 60 revisions of 12 runs, with all kinds of labels and clocks that jump."""
    store = RocksdbDriver(tmp_path_factory.mktemp("queries") / "store").connect("", Owner("me", "host", 1), NOW)
    revs: dict[str, int] = {}
    for turn in range(60):
        run_id, labels, now = f"r{turn * 7 % 12}", LABELS[turn * 5 % 6], NOW + turn * 37 % 20
        exchange = None if turn % 3 else f"[{turn}]"
        if run_id in revs:
            state = State(run_id, revs[run_id], MOVES[turn % 3], labels)
            revs[run_id] = make(store, Commit(writes=(Write(state, exchange),)), now=now)[0]
        else:
            due = None if turn % 4 == 0 else NOW + turn
            made = creation(run_id, due=due, labels=labels, exchange=exchange, created_at=NOW + turn % 4, flow="order")
            revs[run_id] = make(store, made, now=now)[0]
    store.claim(FLOWS, NOW + 2, 2)
    yield store
    store.close()


@pytest.fixture(scope="module")
def every(store: Store) -> list[Revision]:
    found = [r for n in range(12) for r in store.read(HistoryQuery(f"r{n}", limit=100))]
    assert len(found) == 60
    return sorted(found, key=lambda revision: revision.state.rev)


def _fits(state: State, query: HistoryQuery, newest: dict[str, int]) -> bool:
    return (
        (query.id is None or state.id == query.id)
        and query.since_rev < state.rev <= (10_000 if query.until_rev is None else query.until_rev)
        and state.committed_at >= query.since
        and (not query.latest_only or newest[state.id] == state.rev)
        and (not query.labels or any(group.items() <= dict(state.labels).items() for group in query.labels))
    )


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=300)
@given(
    run_id=st.none() | st.sampled_from([f"r{n}" for n in range(13)]),
    since_rev=st.integers(0, 65),
    until=st.none() | st.integers(0, 65),
    since=st.just(0) | st.integers(NOW, NOW + 21),
    labels=GROUPS,
    latest_only=st.booleans(),
    limit=st.integers(0, 70),
    last=st.booleans(),
)
def test_history(
    store: Store, every: list[Revision], run_id: Any, since_rev: int, until: Any, since: int, labels: Any,
    latest_only: bool, limit: int, last: bool,
) -> None:  # fmt: skip
    query = HistoryQuery(run_id, since_rev, limit, last, labels, since, latest_only, until)
    newest = {revision.state.id: revision.state.rev for revision in every}
    want = [revision for revision in every if _fits(revision.state, query, newest)]
    assert store.read(query) == (want[max(len(want) - limit, 0) :] if last else want[:limit])


@pytest.fixture(scope="module")
def records(store: Store) -> list[Record]:
    found = [record for record in store.load([f"r{n}" for n in range(12)]) if record is not None]
    return sorted(found, key=lambda record: (record.created.created_at, record.state.id), reverse=True)


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=200)
@given(
    now=st.sampled_from([NOW, NOW + 30, NOW + 100]),
    flow=st.none() | st.sampled_from(["order", "other"]),
    status=st.none() | st.sampled_from(["queued", "running", "sleeping", "waiting", "parked", "completed", "paused"]),
    labels=st.none() | st.sampled_from(LABELS),
    after=st.none() | st.integers(0, 11),
    limit=st.integers(0, 13),
)
def test_runs(
    store: Store, records: list[Record], now: int, flow: Any, status: Any, labels: Any, after: Any, limit: int
) -> None:
    query = RunQuery(now, flow, status, labels, None if after is None else _key(records[after]), limit)
    want = [
        (record.state, record.row)
        for record in records[0 if after is None else after + 1 :]
        if (flow is None or record.created.flow == flow)
        and (status is None or status_of(record.state, record.row, now) == status)
        and (labels or {}).items() <= dict(record.state.labels).items()
    ]
    assert [(record.state, record.row) for record in store.read(query)] == want[:limit]


def _key(record: Record) -> tuple[int, str]:
    return record.created.created_at, record.state.id


def test_counts(store: Store, records: list[Record]) -> None:
    for now in (NOW, NOW + 30, NOW + 100):
        statuses = [str(status_of(record.state, record.row, now)) for record in records]
        assert store.read(TallyQuery(now)) == [Tally("order", s, statuses.count(s)) for s in sorted(set(statuses))]


def test_a_claimed_run_with_an_owner_from_the_commit_itself(tmp_path: Path) -> None:
    driver = RocksdbDriver(tmp_path / "store")
    store = driver.connect("", Owner("me", "host", 1), NOW)
    rev = make(store, creation("a", due=None))[0]
    owned = creation("a").queue[0]
    moved = Write(State("a", rev, going("b")))
    held = Commit(writes=(moved,), queue=(type(owned)("a", "order", NOW, 3, owned=True),))
    new, epoch = numbers(store, held)
    row = store.load(["a"])[0].row  # type: ignore[union-attr]
    assert row is not None
    assert (row.owner, row.epoch, row.claim_rev, row.priority) == ("me", epoch, new, 3)
    assert store.claim(FLOWS, NOW, 5) == []
    assert [peer.owner.id for peer in driver.connect("", Owner("you", "host", 1), NOW).beat(NOW).peers] == ["me"]
    assert driver.maintenance("").check() == []
