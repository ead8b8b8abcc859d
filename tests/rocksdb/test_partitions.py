"""Claims find the first due rows whatever was put, taken and forgotten before, and walk over nothing twice."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepflow.drivers.port.commit import Commit, Dequeue, Write
from stepflow.drivers.port.store import Store
from stepflow.drivers.rocksdb import RocksdbDriver
from stepflow.drivers.rocksdb.empty_ranges import EmptyRanges
from stepflow.model.state import State
from stepflow.testing.conformance.kit import FLOWS, NOW, creation, ended, make, step
from tests.rocksdb.child import connect

spots = st.integers(0, 40).map(lambda n: b"%02d" % n)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "look"]), spots), max_size=40), spots, spots)
def test_gaps_hide_no_row(calls: list[tuple[str, bytes]], start: bytes, stop: bytes) -> None:
    empty_ranges, rows = EmptyRanges(0), set[bytes]()
    for call, spot in calls:
        if call == "add":
            rows.add(spot)
            empty_ranges.added(spot)
        elif call == "remove":
            rows.discard(spot)
        else:
            empty_ranges.learn(spot, min((row for row in rows if row >= spot), default=b"99"))
    stretches = list(empty_ranges.between(start, stop))
    assert stretches == sorted(stretches)
    assert all(start <= low < high <= stop for low, high in stretches)
    seen = [row for low, high in stretches for row in sorted(rows) if low <= row < high]
    assert seen == sorted(row for row in rows if start <= row < stop)


def test_gaps_are_left_out() -> None:
    empty_ranges = EmptyRanges(0)
    empty_ranges.learn(b"10", b"30")
    empty_ranges.learn(b"30", b"40")
    assert list(empty_ranges.between(b"00", b"99")) == [(b"00", b"10"), (b"40", b"99")]
    empty_ranges.added(b"20")
    assert list(empty_ranges.between(b"00", b"99")) == [(b"00", b"10"), (b"20", b"20\0"), (b"40", b"99")]


@pytest.fixture
def store() -> Iterator[Store]:
    folder = Path(tempfile.mkdtemp())
    store = connect(RocksdbDriver(folder / "store"), "me")
    yield store
    store.close()
    shutil.rmtree(folder)


def _cost(store: Store, name: str) -> float:
    """CPU seconds of claiming 16 of 16 due runs and looking at what is next."""
    spans = []
    for turn in range(25):
        make(store, *[creation(f"{name}-{turn}-{n}") for n in range(16)])
        began = process_time()
        held = store.claim(FLOWS, NOW, 16)
        assert store.next_due(FLOWS, NOW).owned == {"me": 16}
        spans.append(process_time() - began)
        make(store, *[step(found, found.row.claim_rev, ended(), end=True) for found in held])
    return median(spans)


def test_a_claim_costs_the_same_beside_sleepers_and_beside_what_is_left_of_them(store: Store) -> None:
    alone, ids = _cost(store, "alone"), [f"sleeper{n:05}" for n in range(6_000)]
    for first in range(0, len(ids), 1000):
        make(store, *[creation(run_id, due=NOW + 1 + hash(run_id) % 999_999) for run_id in ids[first : first + 1000]])
    beside = _cost(store, "beside")
    for first in range(0, len(ids), 1000):
        found = [record for record in store.load(ids[first : first + 1000]) if record is not None]
        done = [Write(State(record.state.id, record.state.rev, ended())) for record in found]
        make(store, *[Commit(writes=(write,), queue=(Dequeue(write.state.id),)) for write in done])
    after = _cost(store, "after")
    # Walking over 6,000 rows, or over what is left of them, would take several times as long.
    assert beside < 3 * alone
    assert after < 3 * alone
