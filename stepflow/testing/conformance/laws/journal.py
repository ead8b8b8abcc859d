"""Law 21: journal rows are part of their commit, need its fence, and make no revision; and what they mean for laws 6 and 20."""

from __future__ import annotations

from attrs import evolve

from stepflow.drivers.port.commit import Cancel, Commit, Committed, Dequeue, Enqueue, Fence, Release
from stepflow.drivers.port.delays import Delay, delay_key
from stepflow.drivers.port.journal import JournalQuery, JournalRow
from stepflow.drivers.port.step import Append, Member
from stepflow.errors import LostClaim, NotFound, RevMismatch, StoreError
from stepflow.model.state import State
from stepflow.testing.conformance.kit import (
    FLOW,
    NOW,
    Sessions,
    as_member,
    begun,
    claim,
    creation,
    ended,
    going,
    journal,
    make,
    publish,
    record,
    refused,
    step,
)


def row(key: str, text: str = "1", *, failed: bool = False) -> JournalRow:
    """A journal row."""
    return JournalRow(key, "step", "shop.pay", text, failed)


def rows(*keys: str) -> tuple[JournalRow, ...]:
    """Journal rows with these keys, each with another text."""
    return tuple(row(key, f'"{key}"') for key in keys)


class JournalLaws:
    """What journal rows do, and what they leave alone."""

    def test_law_21_without_a_fence_rows_are_those_of_the_one_unowned_run(self, sessions: Sessions) -> None:
        store = sessions.session()
        given = rows("a", "b", "c")
        created = creation("new", due=None)._replace(unowned=("new",), journal=given)
        make(store, created)
        assert journal(store, "new") == list(given)
        assert record(store, "new").journaled
        changed = Commit(unowned=("new",), forget=("",), journal=(given[2], given[0]))
        make(store, changed)
        assert journal(store, "new") == [given[2], given[0]]
        assert isinstance(refused(store, changed._replace(unowned=("missing",))), NotFound)
        assert isinstance(refused(store, changed._replace(unowned=("new", "missing"))), StoreError)
        assert isinstance(refused(store, changed._replace(unowned=())), StoreError)
        begun(store, "held")
        assert isinstance(refused(store, changed._replace(unowned=("held",))), LostClaim)
        make(store, Commit(unowned=("new",), forget=("",)))
        assert not record(store, "new").journaled
        assert sessions.driver.maintenance("").check() == []

    def test_law_21_rows_come_back_as_they_were_given_in_the_order_of_writing(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, rev = begun(store, "a")
        before = record(store, "a")
        assert before.journaled is False
        given = [
            JournalRow("b", "once", "shop.<locals>.pay", '{"ü": "\'\\"\\\\"}'),
            JournalRow("B", "sleep", "", "\U0001f980\n\t", True),
            JournalRow("a\x7f", "event", "x", ""),
            JournalRow("a", "result", "", "x" * 100_000),
        ]
        for one in given:
            make(store, Append(*held.fence, (one,)))
        assert journal(store, "a") == given
        assert record(store, "a") == before._replace(journaled=True)
        assert record(store, "a").state.rev == rev
        make(store, Commit(held.fence, journal=rows("y", "x")))
        assert [one.key for one in journal(store, "a")] == ["b", "B", "a\x7f", "a", "y", "x"]
        (found,) = store.read(JournalQuery(("a",)))
        assert {one.epoch for one in found} == {held.fence.epoch}
        assert sessions.driver.maintenance("").check() == []

    def test_law_21_a_key_that_is_there_is_replaced_and_keeps_its_seq(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, _rev = begun(store, "a")
        make(store, Append(*held.fence, rows("first", "second", "third")))
        (before,) = store.read(JournalQuery(("a",)))
        store.release([Release(held.fence, NOW)], NOW)
        again = claim(store)["a"]
        assert again.record in (None, record(store, "a"))
        newer = JournalRow("second", "attempt", "", "2", True)
        for member in (Append(*again.fence, (newer,)), Commit(again.fence, journal=(row("third"), row("third", "3")))):
            make(store, member)
        (after,) = store.read(JournalQuery(("a",)))
        assert [one.seq for one in after] == [one.seq for one in before]
        assert [one.epoch for one in after] == [held.fence.epoch, again.fence.epoch, again.fence.epoch]
        assert journal(store, "a") == [*rows("first"), newer, row("third", "3")]

    def test_law_21_rows_have_the_time_of_the_commit_that_wrote_them_last(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, rev = begun(store, "a")
        other, _rev = begun(store, "b")

        def times(run_id: str) -> dict[str, int]:
            (found,) = store.read(JournalQuery((run_id,)))
            return {one.key: one.at - NOW for one in found}

        make(store, Append(*held.fence, rows("x", "y")), now=NOW + 1)
        make(store, Append(*held.fence, rows("z")), Append(*other.fence, rows("x")), now=NOW + 2)
        make(store, publish("a", "paid", "1"))
        (event,) = record(store, "a").events
        make(store, Append(*held.fence, rows("paid"), (event.seq,)), now=NOW + 3)
        make(store, Commit(held.fence, journal=(row("v"), row("v", "2"), row("w"))), now=NOW + 4)
        assert times("a") == {"x": 1, "y": 1, "z": 2, "paid": 3, "v": 4, "w": 4}
        assert times("b") == {"x": 2}
        make(store, Append(*held.fence, rows("y")), now=NOW + 5)
        make(store, step(held, rev)._replace(forget=("x",), journal=rows("w", "x")), now=NOW + 6)
        assert times("a") == {"y": 5, "z": 2, "paid": 3, "v": 4, "w": 6, "x": 6}

    def test_law_21_a_row_that_is_copied_keeps_its_time(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, rev = begun(store, "a")
        make(store, Append(*held.fence, rows("x", "y")), now=NOW + 1)
        (found,) = store.read(JournalQuery(("a",)))
        make(store, creation("b", due=None)._replace(unowned=("b",), journal=(*found, row("new"))), now=NOW + 2)
        make(store, Append(*held.fence, (found[1], row("z"))), now=NOW + 3)
        make(store, step(held, rev)._replace(forget=("x",), journal=(found[0],)), now=NOW + 4)
        mine, copies = store.read(JournalQuery(("a", "b")))
        assert {one.key: one.at - NOW for one in copies} == {"x": 1, "y": 1, "new": 2}
        assert {one.key: one.at - NOW for one in mine} == {"y": 1, "z": 3, "x": 1}

    def test_law_21_a_query_reads_a_part_of_a_journal(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, _rev = begun(store, "a")
        other, _rev = begun(store, "b")
        for name in ("k3", "k1", "k2", "k5", "k4"):
            make(store, Append(*held.fence, rows(name)), Append(*other.fence, rows(name)))
        make(store, Append(*held.fence, rows("k3")))
        whole, beside = store.read(JournalQuery(("a", "b")))
        assert [one.key for one in whole] == [one.key for one in beside] == ["k3", "k1", "k2", "k5", "k4"]
        places = (0, *[one.seq for one in whole], whole[-1].seq + 9)
        for after in places:
            for before in (None, *places):
                within = [one for one in whole if one.seq > after and (before is None or one.seq < before)]
                for limit in (None, 1, 2, 9):
                    query = JournalQuery(("a",), limit, after=after, before=before)
                    assert store.read(query) == [tuple(within[:limit])]
                    ends = within if limit is None else within[-limit:]
                    assert store.read(evolve(query, last=True)) == [tuple(ends)]
                for one in whole:
                    mine = (one,) if one in within else ()
                    assert store.read(JournalQuery(("a",), after=after, before=before, key=one.key)) == [mine]
        assert store.read(JournalQuery(("b", "none", "a"), 2, last=True)) == [beside[-2:], (), whole[-2:]]
        assert store.read(JournalQuery(("none", "a"), key="k5")) == [(), (whole[3],)]
        assert store.read(JournalQuery(("a", "b"), key="missing")) == [(), ()]

    def test_law_21_rows_need_the_fence_of_their_run(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, rev = begun(store, "a")
        make(store, Append(*held.fence, rows("kept")))
        lost = Fence("a", held.fence.epoch + 1)
        for fence in (lost, Fence("a", held.fence.epoch - 1), Fence("nobody", held.fence.epoch)):
            for member in (Append(*fence, rows("x")), Commit(fence, forget=("",)), Commit(fence, journal=rows("x"))):
                assert isinstance(store.commit([member], NOW)[0], LostClaim)
        for without in (Commit(journal=rows("x")), Commit(forget=("kept",))):
            assert type(refused(store, without)) is StoreError
        make(store, step(held, rev, ended(), end=True))
        assert isinstance(refused(store, Commit(held.fence, journal=rows("x"))), LostClaim)
        assert isinstance(store.commit([Append(*held.fence, rows("x"))], NOW)[0], LostClaim)
        assert journal(store, "a") == [*rows("kept")]

    def test_law_21_rows_are_part_of_their_commits_atom(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, rev = begun(store, "a")
        make(store, Append(*held.fence, rows("kept")))
        stale = step(held, rev + 1)._replace(forget=("",), journal=rows("x"))
        taken = Commit(held.fence, consume=(77,), forget=("",), journal=rows("x"))
        assert isinstance(refused(store, stale), RevMismatch)
        assert isinstance(refused(store, taken), NotFound)
        assert isinstance(store.commit([Append(*held.fence, rows("x"), (77,))], NOW)[0], NotFound)
        assert journal(store, "a") == [*rows("kept")]
        make(store, step(held, rev)._replace(forget=("",), journal=rows("x")))
        assert journal(store, "a") == [*rows("x")]
        assert record(store, "a").state.rev > rev

    def test_law_21_a_commit_forgets_what_it_names_before_it_writes(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, _rev = begun(store, "a")
        make(store, creation("b"))
        other = claim(store)["b"]
        keys = (
            "order/pay:card",
            "order/pay:",
            "order/pay",
            "order/pay;",
            "order/pay/x:card",
            "order/pa:",
            "é:x",
            "ê:x",
        )
        make(store, Append(*held.fence, rows(*keys)), Append(*other.fence, rows(*keys)))
        make(store, Commit(held.fence, forget=("order/pay:", "é:"), journal=rows("order/pay:new")))
        left = ["order/pay", "order/pay;", "order/pay/x:card", "order/pa:", "ê:x", "order/pay:new"]
        assert [one.key for one in journal(store, "a")] == left
        make(store, Commit(held.fence, forget=("order/pay", "nothing")))
        assert [one.key for one in journal(store, "a")] == left[1:]
        (before,) = store.read(JournalQuery(("a",)))
        make(store, Commit(held.fence, forget=("",), journal=(before[-1],)))
        (after,) = store.read(JournalQuery(("a",)))
        assert [one.key for one in after] == ["order/pay:new"]
        assert after[0].seq > before[-1].seq
        assert journal(store, "b") == [*rows(*keys)]
        make(store, Commit(held.fence, forget=("",)))
        assert record(store, "a").journaled is False

    def test_law_21_batches_of_appends_steps_and_others_apply(self, sessions: Sessions) -> None:
        store = sessions.session()
        for size in (1, 2, 3, 64, 300):
            names = [f"{size}-{n}" for n in range(size)]
            make(store, *[creation(name) for name in names])
            held = claim(store, size)
            for turn in range(3):
                batch: list[Member] = [Append(*held[name].fence, rows(f"k{turn}", f"l{turn}")) for name in names]
                assert store.commit(batch, NOW) == [Committed(committed_at=NOW)] * size
            found = store.read(JournalQuery(tuple(reversed(names))))
            assert [[one.key for one in run] for run in found] == [["k0", "l0", "k1", "l1", "k2", "l2"]] * size
            assert [run[0].epoch for run in found] == [held[name].fence.epoch for name in reversed(names)]
        batch = [
            Append(*held["300-0"].fence, rows("m")),
            as_member(step(held["300-1"], held["300-1"].row.claim_rev)),
            Append("300-2", held["300-2"].fence.epoch + 10_000, rows("m")),
            creation("new"),
            Append("nobody", 1, rows("m")),
            publish("300-3", "paid", "1"),
            Commit(held["300-4"].fence, forget=("k0",), journal=rows("m")),
        ]
        results = store.commit(batch, NOW)
        assert [type(one) for one in (results[2], results[4])] == [LostClaim, LostClaim]
        assert not any(isinstance(results[n], Exception) for n in (0, 1, 3, 5, 6))
        assert [len(run) for run in store.read(JournalQuery(("300-0", "300-1", "300-2", "300-4", "nobody")))] == [
            7,
            6,
            6,
            6,
            0,
        ]

    def test_law_21_an_append_may_use_events_up(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, _rev = begun(store, "a")
        make(store, publish("a", "paid", "1"), now=NOW)
        make(store, publish("a", "paid", "2"), now=NOW)
        first, second = record(store, "a").events
        make(store, Append(*held.fence, rows("paid"), (first.seq,)))
        assert record(store, "a").events == (second,)
        assert isinstance(store.commit([Append(*held.fence, rows("x"), (first.seq,))], NOW)[0], NotFound)
        assert journal(store, "a") == [*rows("paid")]

    def test_law_21_a_cancel_mark_does_not_keep_rows_out(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, _rev = begun(store, "a")
        make(store, Commit(cancel=(Cancel("a"),)))
        make(store, Append(*held.fence, rows("x")))
        assert journal(store, "a") == [*rows("x")]

    def test_law_21_rows_outlive_releases_and_the_end_and_go_with_the_run(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, rev = begun(store, "a")
        make(store, Append(*held.fence, rows("x")))
        make(store, step(held, rev)._replace(queue=(Enqueue("a", FLOW, NOW),)))
        again = claim(store)["a"]
        make(store, step(again, again.row.claim_rev, ended(), end=True))
        assert journal(store, "a") == [*rows("x")]
        assert sessions.driver.maintenance("").prune(NOW + 1, 10) == 1
        make(store, creation("a"))
        assert journal(store, "a") == []
        assert record(store, "a").journaled is False
        assert sessions.driver.maintenance("").check() == []

    def test_law_21_rows_of_a_delay_go_when_it_fires(self, sessions: Sessions) -> None:
        store = sessions.session()
        rev = make(store, creation("a", due=None))[0]
        make(store, Commit(delays=(Delay(State("a", rev, going("woken")), NOW),)))
        key = delay_key("a", 1)
        held = claim(store)[key]
        make(store, Append(*held.fence, rows("x")))
        assert journal(store, key) == [*rows("x")]
        assert record(store, key).journaled is True
        assert sessions.driver.maintenance("").check() == []
        make(store, Commit(held.fence, queue=(Dequeue(key),)))
        assert journal(store, key) == []
        assert sessions.driver.maintenance("").check() == []

    def test_law_21_a_namespace_has_journals_of_its_own(self, sessions: Sessions) -> None:
        one, two = sessions.session(), sessions.session(namespace="other")
        (first, _), (second, _) = begun(one, "a"), begun(two, "a")
        make(one, Append(*first.fence, rows("x")))
        make(two, Append(*second.fence, rows("y")))
        assert journal(one, "a") == [*rows("x")]
        make(two, Commit(second.fence, forget=("",)))
        assert journal(one, "a") == [*rows("x")]
        assert journal(two, "a") == []

    def test_law_21_claims_tell_of_rows(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("a"), creation("b"))
        held = claim(store)
        make(store, Append(*held["b"].fence, rows("x")))
        store.release([Release(one.fence, NOW) for one in held.values()], NOW)
        found = {run_id: one.record or record(store, run_id) for run_id, one in claim(store).items()}
        assert {run_id: one.journaled for run_id, one in found.items()} == {"a": False, "b": True}

    def test_law_6_a_journal_row_of_the_claim_is_progress(self, sessions: Sessions) -> None:
        store, other = sessions.session(owner="me"), sessions.session(owner="dies")
        make(store, creation("busy"), creation("idle"))
        crashes = []
        for turn in range(3):
            held = claim(other)
            if turn < 2:
                make(other, Append(*held["busy"].fence, rows("same key")))
            store.beat(NOW, ["dies"])
            crashes.append([row.crashes for name in ("busy", "idle") if (row := record(store, name).row)])
            if turn == 1:
                store.release([Release(one.fence, NOW, crashes=1) for one in claim(store, suspects=True).values()], NOW)
        assert crashes == [[0, 1], [0, 2], [1, 2]]

    def test_law_6_unfinished_attempts_are_those_of_the_present_step(self, sessions: Sessions) -> None:
        store, other = sessions.session(owner="me"), sessions.session(owner="dies")
        names = "moves", "notes", "ends", "idle"
        make(store, *map(creation, names))
        counts = []
        for turn in range(4):
            held = claim(other) | claim(other, suspects=True)
            if turn in (1, 3):
                make(other, step(held["moves"], held["moves"].row.claim_rev))
                make(other, Append(*held["notes"].fence, (JournalRow(f"s:{turn}", "once", "", "1"),)))
                make(other, Append(*held["ends"].fence, (*rows(f"k{turn}"), JournalRow("s:k", "once", "", "1"))))
            store.beat(NOW, ["dies"])
            counts.append([row.unfinished for name in names if (row := record(store, name).row)])
        assert counts == [[1, 1, 1, 1], [1, 2, 1, 2], [2, 3, 2, 3], [1, 4, 1, 4]]

    def test_law_6_releases_and_ends_of_owners_keep_the_unfinished_attempts(self, sessions: Sessions) -> None:
        store, other = sessions.session(owner="me"), sessions.session(owner="leaves")
        make(store, creation("a"), creation("b"))
        held = claim(store)
        store.release([Release(one.fence, NOW, unfinished=3) for one in held.values()], NOW)
        held = claim(store)
        store.release(
            [Release(held["a"].fence, NOW, blocked="no", blocked_by="other"), Release(held["b"].fence, NOW)], NOW
        )
        held = claim(other)
        assert [held[name].row.unfinished for name in "ab"] == [3, 3]
        make(other, step(held["a"], held["a"].row.claim_rev))
        other.close()
        held = claim(store)
        assert [held[name].row.unfinished for name in "ab"] == [0, 3]
        later = Enqueue("b", FLOW, NOW)
        make(store, Commit(held["b"].fence, queue=(later,)))
        make(store, step(held["a"], held["a"].row.claim_rev)._replace(queue=(Enqueue("a", FLOW, NOW),)))
        assert [one.row.unfinished for one in claim(store).values()] == [0, 0]

    def test_law_20_an_append_is_answered_as_the_commit_that_it_is(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, _rev = begun(store, "a")
        commit = Commit(held.fence, journal=rows("x"))
        append = as_member(commit)
        assert isinstance(append, Append)
        assert append.commit() == commit
        assert store.commit([append], NOW + 3) == store.commit([commit], NOW + 3) == [Committed(committed_at=NOW + 3)]
