"""Delays and data beside the laws: values that fit no key, steps that carry more than a write, batches that break off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stepflow.drivers.port.commit import Commit, Placeholder, RevOf
from stepflow.drivers.port.delays import DataQuery, DataWrite, Delay, DelayQuery
from stepflow.drivers.port.store import Store
from stepflow.drivers.rocksdb import RocksdbDriver
from stepflow.errors import CodecError
from stepflow.model.state import State
from stepflow.testing.conformance.kit import NOW, claim, creation, going, make, numbers, record, refused, step
from tests.rocksdb.child import connect


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with a run that is due, with a delay and data."""
    store = connect(RocksdbDriver(tmp_path / "store"), "me")
    make(store, creation("queued"))
    make(store, hung("queued", NOW + 9))
    yield store
    store.close()


def hung(run_id: str, due: int = NOW) -> Commit:
    """The commit that hangs a delay and data on a run."""
    delay = Delay(State(run_id, 0, going("woken")), due)
    return Commit(delays=(delay,), data=(DataWrite(run_id, b"blob", {}),))


def test_a_delay_whose_due_fits_no_key_takes_no_number(store: Store) -> None:
    assert isinstance(refused(store, hung("queued", 2**63)), CodecError)
    assert numbers(store, hung("queued", 2**63 - 1)) == (2, 2)
    assert [delay.offset for delay in store.read(DelayQuery(2**70, since=-(2**70)))] == [1, 2]
    assert store.read(DataQuery(2**70)) == []
    for key in ("queued\0", "queued\0x", "queued\0" + "01", "queued\0" + "9" * 5000, "\0", "nobody\0" + "1"):
        assert store.load([key]) == [None]


def test_a_step_with_more_than_a_write_goes_the_long_way(store: Store) -> None:
    held = claim(store)["queued"]
    plain = step(held, held.row.claim_rev)
    rev, *more = numbers(store, Commit(plain.fence, writes=plain.writes, delays=hung("queued").delays))
    assert more == [2]
    plain = step(held, rev)
    rev, *more = numbers(store, Commit(plain.fence, writes=plain.writes, data=hung("queued").data))
    assert more == [2]
    plain = step(held, rev, going("before"))
    own = (Placeholder("write", 0, "rev", RevOf(0)),)
    (rev,) = numbers(store, Commit(plain.fence, writes=plain.writes, placeholders=own))
    assert record(store, "queued").state.annotations == {"rev": str(rev)}


def test_a_placeholder_of_no_write_leaves_the_batch_undone(store: Store) -> None:
    held = claim(store)["queued"]
    before = record(store, "queued")
    wrong = creation("b")._replace(placeholders=(Placeholder("write", 0, "rev", RevOf(5)),))
    with pytest.raises(IndexError):
        store.commit([step(held, before.state.rev), wrong], NOW)
    assert record(store, "queued") == before
    make(store, step(held, before.state.rev))
