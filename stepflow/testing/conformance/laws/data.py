"""Law 14: data is part of its commit; and a commit may hold numbers that only the store can give (law 1)."""

from __future__ import annotations

import pytest

from stepflow.drivers.port.commit import Commit, Created, Enqueue, Fence, Write
from stepflow.drivers.port.delays import DataQuery, DataWrite, Delay, delay_key
from stepflow.errors import CodecError, NotFound, RevMismatch, TooLarge
from stepflow.model.state import State
from stepflow.testing.conformance.kit import (
    FLOW,
    NOW,
    Sessions,
    creation,
    ended,
    going,
    make,
    numbers,
    record,
    step,
)

LATER = NOW + 50
NUL = "nul\x00, ü, '\""


def data(*blobs: bytes, run_id: str = "a") -> Commit:
    """The commit that only stores data."""
    return Commit(data=tuple(DataWrite(run_id, blob, {}) for blob in blobs))


def _numbered(revs: tuple[int, ...], blobs: tuple[int, ...], now: int) -> Commit:
    notes = {"revs": str(revs), "data": str(blobs), "now": str(now)}
    first, second = State("a", 0, going(), {}, notes), State("b", 0, going(), {}, {})
    return Commit(
        writes=(Write(first, "[1]", Created(FLOW, "", now)), Write(second, "[2]", Created(FLOW, "", now))),
        queue=(Enqueue("b", FLOW, NOW, owned=True),),
        delays=(Delay(State("b", revs[1], going("woken")), LATER),),
        data=(DataWrite("a", b"1", notes),),
    )


class DataLaws:
    """Blobs are stored once, with numbers of their own."""

    def test_law_14_data_comes_back_byte_for_byte(self, sessions: Sessions) -> None:
        store, other = sessions.session(), sessions.session("other")
        blobs = (b"", b"\x00", bytes(range(256)) * 300, "ü".encode())
        writes = tuple(DataWrite("a", blob, {NUL: NUL, "binary": "true"}) for blob in blobs)
        assert numbers(store, Commit(data=writes)) == (1, 2, 3, 4)
        for rev, write in enumerate(writes, 1):
            (found,) = store.read(DataQuery(rev))
            assert (found.rev, found.blob, dict(found.annotations)) == (rev, write.blob, write.annotations)
        assert [store.read(DataQuery(rev)) for rev in (-1, 0, 5, 2**62)] == [[], [], [], []]
        assert other.read(DataQuery(1)) == []
        assert numbers(other, data(b"x")) == (1,)

    def test_law_14_revisions_are_dense_and_atomic(self, sessions: Sessions) -> None:
        store = sessions.session()
        stale = Commit(writes=(Write(State("c", 99, going())),), data=(DataWrite("c", b"no", {}),))
        odd = Commit(data=(DataWrite("c", b"no", {"k": "\ud800"}),))
        first, none, half, second = store.commit([data(b"1", b"2"), stale, odd, data(b"3")], NOW)
        assert isinstance(none, RevMismatch)
        assert first == (1, 2)
        if isinstance(half, tuple):
            assert second == (4,)
        else:
            assert isinstance(half, CodecError)
            assert second == (3,)
            assert store.read(DataQuery(3))[0].blob == b"3"

    def test_law_14_a_large_blob_is_kept_or_refused(self, sessions: Sessions) -> None:
        store = sessions.session()
        large = bytes(range(256)) * (100 * 2**12)  # 100 MiB
        (result, after) = store.commit([data(large), data(b"next")], NOW)
        if isinstance(result, tuple):
            assert store.read(DataQuery(1))[0].blob == large
            assert after == (2,)
        else:
            assert isinstance(result, TooLarge)
            assert any(letter.isdigit() for letter in str(result))
            assert after == (1,)

    def test_law_14_the_callers_objects_are_not_shared(self, sessions: Sessions) -> None:
        store = sessions.session()
        blob, notes, labels = bytearray(b"first"), {"k": "v"}, {"k": "v"}
        late = Delay(State("a", 0, going(), labels, notes), LATER)
        numbers(store, Commit(data=(DataWrite("a", blob, notes),), delays=(late,)))  # type: ignore[arg-type]
        blob[:], notes["k"], labels["k"] = b"other", "changed", "changed"
        (found,) = store.read(DataQuery(1))
        assert (found.blob, dict(found.annotations)) == (b"first", {"k": "v"})
        state = record(store, delay_key("a", 1)).state
        assert (dict(state.labels), dict(state.annotations)) == ({"k": "v"}, {"k": "v"})

    def test_law_14_a_reopened_store_has_its_data(self, sessions: Sessions) -> None:
        store = sessions.session()
        numbers(store, data(b"1", b"2"))
        store.close()
        again = sessions.session()
        assert again.read(DataQuery(2))[0].blob == b"2"
        assert numbers(again, data(b"3")) == (3,)

    def test_law_14_pruning_takes_the_data_of_a_run(self, sessions: Sessions) -> None:
        store, upkeep = sessions.session(), sessions.driver.maintenance("")
        make(store, creation("a", due=None, transition=ended()), creation("b", due=None))
        numbers(store, data(b"b", run_id="b"))
        numbers(store, data(b"a", b"a"))
        assert upkeep.prune(NOW + 1, 10) == 1
        assert [len(store.read(DataQuery(rev))) for rev in (1, 2, 3)] == [1, 0, 0]
        assert upkeep.check() == []
        assert numbers(store, data(b"new")) == (4,)

    def test_law_1_a_commit_can_hold_its_own_numbers(self, sessions: Sessions) -> None:
        store = sessions.session(owner="me")
        numbers(store, data(b"0"))
        make(store, creation("x"))
        commit = _numbered((0, 0), (0,), NOW)
        (result,) = store.commit([Commit(writes=commit.writes, data=commit.data, resolve=_numbered)], 77)
        assert isinstance(result, tuple)
        one, two, blob, offset, epoch = result
        assert (blob, offset) == (2, 1)
        notes = {"revs": str((one, two)), "data": "(2,)", "now": "77"}
        assert record(store, "a").state.annotations == notes
        assert (record(store, "a").state.rev, record(store, "b").exchange) == (one, "[2]")
        assert record(store, delay_key("b", 1)).state.rev == two
        assert store.read(DataQuery(2))[0].annotations == notes
        make(store, step(Fence("b", epoch), two))

    def test_law_1_numbers_in_a_batch_are_those_that_are_given(self, sessions: Sessions) -> None:
        store = sessions.session()

        def note(run_id: str, commit: Commit) -> Commit:
            def resolve(revs: tuple[int, ...], _blobs: tuple[int, ...], _now: int) -> Commit:
                state = State(run_id, 0, going(), {}, {"rev": str(revs[0])})
                return Commit(writes=(Write(state, None, Created(FLOW, "", NOW)),))

            return Commit(writes=commit.writes, queue=commit.queue, resolve=resolve)

        ids = [f"r{n}" for n in range(6)]
        batch = [note(run_id, creation(run_id)) if n % 2 else creation(run_id) for n, run_id in enumerate(ids)]
        make(store, *batch)
        for run_id in ids[1::2]:
            state = record(store, run_id).state
            assert state.annotations == {"rev": str(state.rev)}

    @pytest.mark.parametrize("bad", ["stale", "raises"])
    def test_law_1_a_refused_commit_that_resolves_changes_nothing(self, sessions: Sessions, bad: str) -> None:
        store = sessions.session()
        make(store, creation("a"))

        def resolve(_revs: tuple[int, ...], _blobs: tuple[int, ...], _now: int) -> Commit:
            raise NotFound("no such thing")

        writes = (creation("b") if bad == "raises" else creation("a")).writes
        commit = Commit(writes=writes, data=(DataWrite("b", b"", {}),), resolve=resolve)
        results = store.commit([creation("c"), commit, data(b"1")], NOW)
        assert isinstance(results[1], NotFound if bad == "raises" else RevMismatch)
        assert results[2] == (1,)
        assert store.load(["b"]) == [None]
        assert record(store, "c").state.rev > 0
