"""Laws 8 to 11: what is acknowledged stays, exactly as it was given, each namespace for itself, with its history."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from stepflow.drivers.port.commit import Commit, Release, Write
from stepflow.drivers.port.queries import HistoryQuery
from stepflow.errors import CodecError, StepflowError
from stepflow.model.state import State, Transition
from stepflow.testing.conformance.kit import (
    FLOWS,
    NOW,
    Sessions,
    begun,
    claim,
    creation,
    ended,
    make,
    publish,
    record,
    step,
    write,
)

AWKWARD = (
    "",
    "plain",
    "ünïcödé ✓ 日本 🦜",
    "nul\x00inside",
    "\x00",
    "quote\"'\\back",
    "line\nbreak\r\t\x1f",
    "%_?:*",
    "\ufeff\uffff",
)


class RecordLaws:
    """Durability, exactness, isolation and history."""

    def test_law_8_a_reopened_store_has_everything(self, sessions: Sessions) -> None:
        store = sessions.session(owner="one")
        make(store, creation("a", exchange="[1]", labels={"k": "v"}), creation("b"))
        held = claim(store, 1)["a"]
        make(store, step(held, held.row.claim_rev, exchange="[2]", labels={"k": "w"}))
        make(store, publish("a", "e", "1"))
        store.release([Release(held.fence, NOW + 7)], NOW)
        before = store.load(["a", "b"])
        head = store.next_due(FLOWS, NOW).head
        store.close()
        again = sessions.session(owner="two")
        assert again.load(["a", "b"]) == before
        assert again.next_due(FLOWS, NOW).head == head
        assert make(again, creation("c"))[0] > head
        assert sessions.driver.maintenance("").check() == []

    @pytest.mark.parametrize("text", AWKWARD, ids=ascii)
    def test_law_9_texts_come_back_as_they_were(self, sessions: Sessions, text: str) -> None:
        store = sessions.session()
        given = {text or "k": text, "other": text}
        transition = Transition("to", {text or "k": text})
        exchange = json.dumps(text, ensure_ascii=False)
        run_id = f"id{text}"
        make(store, creation(run_id, exchange=exchange, labels=given, annotations=given, transition=transition))
        held = claim(store)[run_id]
        make(store, publish(run_id, f"name{text}", f"event{text}", text))
        first = record(store, run_id)
        assert (dict(first.state.labels), dict(first.state.annotations), first.exchange) == (given, given, exchange)
        assert (first.state.transition.to, dict(first.state.transition.annotations)) == ("to", {text or "k": text})
        assert [(e.name, e.id, e.payload) for e in first.events] == [(f"name{text}", f"event{text}", text)]
        make(store, step(held, first.state.rev, transition, exchange, labels=given))
        second = record(store, run_id)
        assert (dict(second.state.labels), second.exchange) == (given, exchange)
        assert dict(second.state.transition.annotations) == {text or "k": text}

    def test_law_9_what_cannot_be_kept_is_refused_for_that_member_only(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, rev = begun(store, "good")
        half = "half \ud800 pair"
        batch = [
            creation("bad", labels={"k": half}),
            step(held, rev, exchange="[5]"),
            creation("bad2", exchange=f'"{half}"'),
        ]
        results = store.commit(batch, NOW)
        assert isinstance(results[1], tuple)
        assert record(store, "good").exchange == "[5]"
        if isinstance(results[0], StepflowError):
            assert store.load(["bad"]) == [None]
        else:
            assert record(store, "bad").state.labels == {"k": half}

    def test_law_9_an_id_that_is_no_text_is_refused_or_unknown(self, sessions: Sessions) -> None:
        store = sessions.session()
        with suppress(CodecError):
            assert store.load(["\ud800"]) == [None]

    def test_law_9_a_reason_for_blocking_may_hold_anything(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, _rev = begun(store, "a")
        assert store.release([Release(held.fence, NOW, blocked="why \ud800 ü", blocked_by="d1")], NOW) == [True]
        row = record(store, "a").row
        assert row is not None
        assert row.blocked.startswith("why ")
        assert row.blocked.endswith(" ü")

    def test_law_9_large_exchanges(self, sessions: Sessions) -> None:
        store = sessions.session()
        large = json.dumps("ü" * 5_000_000, ensure_ascii=False)
        rev = make(store, creation("a", exchange=large))[0]
        assert record(store, "a").exchange == large
        held = claim(store)["a"]
        make(store, step(held, rev, exchange=large[::-1]))
        assert record(store, "a").exchange == large[::-1]

    def test_law_9_large_numbers(self, sessions: Sessions) -> None:
        store = sessions.session()
        most = 2**63 - 1
        make(store, creation("a", due=most, created_at=most), now=most)
        found = record(store, "a")
        assert found.row is not None
        assert (found.row.due, found.created.created_at, found.state.committed_at) == (most, most, most)

    def test_law_9_the_callers_maps_are_not_shared(self, sessions: Sessions) -> None:
        store = sessions.session()
        labels = {"k": "v"}
        make(store, creation("a", labels=labels))
        labels["k"] = "changed"
        assert record(store, "a").state.labels == {"k": "v"}

    def test_law_9_committed_at_and_created_at(self, sessions: Sessions) -> None:
        store = sessions.session()
        rev = make(store, creation("a", due=None, created_at=3), now=5)[0]
        make(store, write("a", rev), now=9)
        found = record(store, "a")
        assert (found.created.flow, found.created.input_hash, found.created.created_at) == ("order", "hash", 3)
        assert found.state.committed_at == 9

    def test_law_10_namespaces_do_not_see_each_other(self, sessions: Sessions) -> None:
        one, two = sessions.session("one", "me"), sessions.session("two", "you")
        make(one, creation("a", exchange="1"), creation("b"))
        make(two, creation("a", exchange="2"))
        assert set(claim(two)) == {"a"}
        assert (record(one, "a").exchange, record(two, "a").exchange) == ("1", "2")
        assert two.load(["b"]) == [None]
        assert two.next_due(FLOWS, NOW).owned == {"you": 1}
        assert one.next_due(FLOWS, NOW).owned == {}
        assert {r.state.id for r in two.read(HistoryQuery())} == {"a"}
        one.beat(NOW)
        assert two.beat(NOW).peers == ()
        assert set(claim(one)) == {"a", "b"}

    def test_law_11_history_of_a_run(self, sessions: Sessions) -> None:
        store = sessions.session()
        revs = make(store, creation("a", due=None, exchange="[0]"))
        for number in range(1, 10):
            make(store, creation(f"noise{number}", due=None))
            revs += make(store, write("a", revs[-1], exchange=f"[{number}]" if number % 3 == 0 else None))
        every = store.read(HistoryQuery("a"))
        assert [r.state.rev for r in every] == revs
        assert [r.exchange for r in every] == [f"[{n // 3 * 3}]" for n in range(10)]
        assert store.read(HistoryQuery("a", since_rev=revs[3])) == every[4:]
        assert store.read(HistoryQuery("a", since_rev=revs[3], limit=2)) == every[4:6]
        assert store.read(HistoryQuery("a", limit=3, last=True)) == every[-3:]
        assert store.read(HistoryQuery("a", since_rev=revs[8], limit=3, last=True)) == every[9:]
        assert store.read(HistoryQuery("nobody")) == []
        assert every[-1].state == record(store, "a").state

    def test_law_11_history_of_the_namespace(self, sessions: Sessions) -> None:
        store = sessions.session()
        revs = [make(store, creation(f"r{n}", due=None, exchange=f"[{n}]"))[0] for n in range(5)]
        for number in range(5):
            revs += make(store, write(f"r{number}", revs[number]))
        every = store.read(HistoryQuery())
        assert [r.state.rev for r in every] == revs
        assert [r.exchange for r in every] == [f"[{n}]" for n in range(5)] * 2
        assert store.read(HistoryQuery(since_rev=revs[6])) == every[7:]
        assert store.read(HistoryQuery(since_rev=revs[1], limit=4)) == every[2:6]
        assert store.read(HistoryQuery(limit=2, last=True)) == every[-2:]

    def test_law_11_pruning_takes_old_ended_runs_whole(self, sessions: Sessions) -> None:
        store = sessions.session()
        upkeep = sessions.driver.maintenance("")
        first, _parked = make(
            store, creation("old", due=None, labels={"k": "v"}), creation("parked", due=None), now=NOW
        )
        rev = make(store, creation("new", due=None, created_at=1), now=1)[0]
        make(store, publish("old", "e", "1"))
        make(store, Commit(writes=(Write(State("old", first, ended(), {"k": "v"})),)))
        make(store, write("new", rev, ended("failed")), now=NOW + 10)
        other = sessions.session("other")
        make(other, creation("old", due=None, transition=ended()))
        assert upkeep.prune(NOW, 10) == 0
        assert upkeep.prune(NOW + 1, 10) == 1
        assert [r and r.state.id for r in store.load(["old", "new", "parked"])] == [None, "new", "parked"]
        assert {r.state.id for r in store.read(HistoryQuery())} == {"new", "parked"}
        assert record(other, "old").state.id == "old"
        assert upkeep.check() == []
        make(store, creation("old", exchange="[2]"))
        assert record(store, "old").events == ()

    def test_law_11_pruning_keeps_to_its_limit(self, sessions: Sessions) -> None:
        store = sessions.session()
        upkeep = sessions.driver.maintenance("")
        make(store, *[creation(f"r{n}", due=None, transition=ended("cancelled")) for n in range(5)])
        assert [upkeep.prune(NOW + 1, 2) for _turn in range(4)] == [2, 2, 1, 0]
