"""Law 14: data is part of its commit; and a commit may hold numbers that only the store can give (law 1)."""

from __future__ import annotations

from stepflow.drivers.port.commit import (
    Commit,
    Committed,
    Created,
    DataRevOf,
    Enqueue,
    Fence,
    Placeholder,
    RevOf,
    StackedOf,
    Write,
)
from stepflow.drivers.port.delays import DataQuery, DataWrite, Delay, delay_key
from stepflow.errors import CodecError, RevMismatch, TooLarge
from stepflow.model.ctx import StateCtx
from stepflow.model.data import Data
from stepflow.model.stacked import stack_text, unstack_text
from stepflow.model.state import State
from stepflow.testing.conformance.kit import (
    FLOW,
    NOW,
    Sessions,
    claim,
    committed,
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


def _referring() -> Commit:
    """A commit of two new runs that refers to its own numbers wherever it may."""
    inner, outer = StateCtx.of(State("i", 0, going(), {}, {"blob": ""})), StateCtx.of(State("o", 0, going()))
    outer.datas["d"], outer.annotations["inner"] = Data(b"1"), stack_text(inner)
    nested = StackedOf((Placeholder("current", 0, "blob", DataRevOf(0)), Placeholder("current", 0, None, RevOf(0))))
    whole = StackedOf(
        (
            Placeholder("committed", 0, None, RevOf(1)),
            Placeholder("data", "d", None, DataRevOf(0)),
            Placeholder("current", 0, "inner", nested),
        )
    )
    first = State("a", 0, going(), {}, {"kept": "x", "data": "", "stacked": stack_text(outer)})
    return Commit(
        writes=(
            Write(first, "[1]", Created(FLOW, "", NOW)),
            Write(State("b", 0, going()), "[2]", Created(FLOW, "", NOW)),
        ),
        queue=(Enqueue("b", FLOW, NOW, owned=True),),
        delays=(Delay(State("b", 0, going("woken"), {}, {"first": ""}), LATER),),
        data=(DataWrite("a", b"1", {}),),
        placeholders=(
            Placeholder("write", 0, "data", DataRevOf(0)),
            Placeholder("write", 0, "stacked", whole),
            Placeholder("delay", 0, None, RevOf(1)),
            Placeholder("delay", 0, "first", RevOf(0)),
        ),
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
        assert isinstance(first, Committed)
        assert isinstance(second, Committed)
        assert first.data_revs == (1, 2)
        if isinstance(half, tuple):
            assert second.data_revs == (4,)
        else:
            assert isinstance(half, CodecError)
            assert second.data_revs == (3,)
            assert store.read(DataQuery(3))[0].blob == b"3"

    def test_law_14_a_large_blob_is_kept_or_refused(self, sessions: Sessions) -> None:
        store = sessions.session()
        large = bytes(range(256)) * (100 * 2**12)  # 100 MiB
        (result, after) = store.commit([data(large), data(b"next")], NOW)
        if isinstance(result, tuple):
            assert store.read(DataQuery(1))[0].blob == large
            assert isinstance(after, Committed)
            assert after.data_revs == (2,)
        else:
            assert isinstance(result, TooLarge)
            assert any(letter.isdigit() for letter in str(result))
            assert isinstance(after, Committed)
            assert after.data_revs == (1,)

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
        done = committed(store, _referring(), 77_000)
        (one, two), (epoch,) = done.revs, done.epochs
        assert (done.data_revs, done.offsets, done.committed_at) == ((2,), (1,), 77_000)
        first, second = record(store, "a").state, record(store, "b").state
        assert (first.rev, second.rev) == (one, two)
        assert (first.annotations["kept"], first.annotations["data"]) == ("x", "2")
        outer = unstack_text(first.annotations["stacked"])
        inner = unstack_text(outer.annotations["inner"])
        assert (outer.committed.rev, outer.committed.committed_at, outer.rev) == (two, 77_000, 0)
        assert (outer.datas["d"].rev, inner.annotations, inner.rev) == (2, {"blob": "2"}, one)
        delayed = record(store, delay_key("b", 1)).state
        assert (delayed.rev, delayed.committed_at, delayed.annotations) == (two, 77_000, {"first": str(one)})
        make(store, step(Fence("b", epoch), two))

    def test_law_1_numbers_in_a_batch_are_those_that_are_given(self, sessions: Sessions) -> None:
        store = sessions.session()

        def note(commit: Commit) -> Commit:
            return commit._replace(placeholders=(Placeholder("write", 0, "rev", RevOf(0)),))

        ids = [f"r{n}" for n in range(6)]
        batch = [note(creation(run_id)) if n % 2 else creation(run_id) for n, run_id in enumerate(ids)]
        make(store, *batch)
        for run_id in ids[1::2]:
            state = record(store, run_id).state
            assert state.annotations == {"rev": str(state.rev)}

    def test_law_1_a_step_can_hold_its_own_number(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("a"))
        held = claim(store)["a"]
        noted = step(held, held.row.claim_rev)._replace(placeholders=(Placeholder("write", 0, "rev", RevOf(0)),))
        done = committed(store, noted)
        assert record(store, "a").state.annotations == {"rev": str(done.revs[0])}

    def test_law_1_a_refused_commit_with_placeholders_changes_nothing(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("a"))
        place = (Placeholder("write", 0, "data", DataRevOf(0)),)
        commit = Commit(writes=creation("a").writes, data=(DataWrite("b", b"", {}),), placeholders=place)
        _created, refusal, stored = store.commit([creation("c"), commit, data(b"1")], NOW)
        assert isinstance(refusal, RevMismatch)
        assert isinstance(stored, Committed)
        assert stored.data_revs == (1,)
        assert record(store, "a").state.annotations == {}
        assert record(store, "c").state.rev > 0
