"""Laws 5 and 6: the order of claims, and the runs of owners that died."""

from __future__ import annotations

from stepflow.drivers.port.commit import Commit, Enqueue, Fence, Release
from stepflow.drivers.port.delays import Delay, delay_key
from stepflow.drivers.port.queries import OwnerQuery
from stepflow.errors import LostClaim
from stepflow.model.limits import Limit, dump
from stepflow.model.state import State
from stepflow.testing.conformance.kit import (
    FLOW,
    FLOWS,
    NOW,
    Sessions,
    as_loaded,
    as_member,
    begun,
    claim,
    creation,
    ended,
    going,
    make,
    polling,
    publish,
    record,
    refused,
    step,
    write,
)


class ClaimLaws:
    """Claims are exclusive, ordered and survive the death of their owner."""

    def test_law_5_a_run_is_given_once(self, sessions: Sessions) -> None:
        one, two = sessions.session(), sessions.session()
        make(one, *[creation(f"r{n}") for n in range(10)])
        first, second = claim(one, 6), claim(two, 100)
        assert len(first) == 6
        assert len(second) == 4
        assert not set(first) & set(second)
        assert claim(one) == {}

    def test_law_5_order_is_priority_due_id(self, sessions: Sessions) -> None:
        store = sessions.session()
        rows = [("d", 5, 0), ("a", 9, 0), ("b", 5, 0), ("c", 1, 1), ("e", 9, -1)]
        make(store, *[creation(run_id, due=due, priority=priority) for run_id, due, priority in rows])
        flows = {**FLOWS, "nobody's": "x"}
        order = [found.fence.id for _turn in range(5) for found in store.claim(flows, NOW, 1)]
        assert order == ["e", "b", "d", "a", "c"]

    def test_law_5_order_holds_inside_a_batch(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("a", due=3), creation("b", due=2, flow="other"), creation("c", due=1))
        found = store.claim({**FLOWS, "other": "d2"}, NOW, 3)
        assert [c.fence.id for c in found] == ["c", "b", "a"]
        assert [c.row.flow for c in found] == [FLOW, "other", FLOW]

    def test_law_5_flows_take_turns_and_urgent_runs_go_before_them(self, sessions: Sessions) -> None:
        store, flows = sessions.session(), {"c": "d", "b": "d", "a": "d"}
        make(store, *[creation(f"a{n}", due=n, flow="a") for n in range(4)])
        make(store, *[creation(f"b{n}", due=10 + n, flow="b", priority=5) for n in range(2)])
        make(store, creation("c0", due=99, flow="c", priority=9), creation("c-late", due=NOW + 1, flow="c"))
        make(store, creation("urgent", due=50, flow="a", priority=-1), creation("first", due=70, flow="b", priority=-2))
        assert [c.fence.id for c in store.claim(flows, NOW, 3)] == ["first", "urgent", "c0"]
        assert [c.fence.id for c in store.claim(flows, NOW, 3)] == ["b0", "a0", "b1"]
        assert [c.fence.id for c in store.claim({"a": "d", "b": "d"}, NOW, 9)] == ["a1", "a2", "a3"]

    def test_law_5_a_backlog_keeps_no_other_flow_waiting(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, *[creation(f"long{n:04}", due=1, flow="long") for n in range(1_000)])
        make(store, *[creation(f"short{n}", due=2, flow="short") for n in range(10)])
        taken = [c.row.flow for _turn in range(4) for c in store.claim({"long": "d", "short": "d"}, NOW, 8)]
        assert taken == ["long", "short"] * 10 + ["long"] * 12

    def test_law_5_a_flow_with_limits_takes_its_turns(self, sessions: Sessions) -> None:
        store, limits = sessions.session(), dump([Limit("key", 2)])
        make(store, *[creation(f"a{n}", due=n, flow="a") for n in range(4)])
        make(store, *[creation(f"b{n}", due=10 + n, flow="b", limits=limits) for n in range(4)])
        flows = {"b": "d", "a": "d"}
        assert [c.fence.id for c in store.claim(flows, NOW, 4)] == ["b0", "a0", "b1", "a1"]
        assert [c.fence.id for c in store.claim(flows, NOW, 4)] == ["a2", "a3"]

    def test_law_5_a_refused_run_costs_its_flow_no_turn(self, sessions: Sessions) -> None:
        store, one = sessions.session(), dump([Limit("key", 1)])
        make(store, *[creation(f"a{n}", due=n, flow="a") for n in range(6)])
        make(store, creation("b0", due=1, flow="b", limits=one), creation("b1", due=2, flow="b", limits=one))
        make(store, *[creation(f"b{n}", due=n, flow="b") for n in range(3, 5)])
        flows = {"b": "d", "a": "d"}
        assert [c.fence.id for c in store.claim(flows, NOW, 7)] == ["b0", "a0", "b3", "a1", "b4", "a2", "a3"]

    def test_law_5_flows_take_turns_among_many_lines(self, sessions: Sessions) -> None:
        store = sessions.session()
        for flow, due in (("a", 0), ("b", 1_000)):
            make(
                store,
                *[
                    creation(f"{flow}{n:03}", due=due + n, flow=flow, limits=dump([Limit(f"{flow}{n // 2}", 1)]))
                    for n in range(500)
                ],
            )
        found = [c.fence.id for _turn in range(2) for c in store.claim({"a": "d", "b": "d"}, NOW, 5)]
        assert found == ["a000", "b000", "a002", "b002", "a004", "a006", "b004", "a008", "b006", "a010"]

    def test_law_5_only_due_runs_of_registered_flows(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(
            store,
            creation("later", due=NOW + 1),
            creation("foreign", flow="unregistered"),
            creation("parked", due=None),
        )
        assert claim(store) == {}
        assert set(claim(store, now=NOW + 1)) == {"later"}

    def test_law_5_a_clock_that_goes_back_makes_nothing_due_too_early(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("a", due=100), creation("b", due=50), now=10)
        held = claim(store, limit=1, now=200)
        assert set(held) == {"b"}
        assert claim(store, now=60) == {}
        assert set(claim(store, now=100)) == {"a"}

    def test_law_5_the_claim_tells_row_and_revision(self, sessions: Sessions) -> None:
        store = sessions.session(owner="me")
        rev = make(store, creation("a", due=7, priority=2))[0]
        found = claim(store)["a"]
        row = found.row
        assert (row.flow, row.due, row.owner, row.priority, row.crashes, row.cancel) == (FLOW, 7, "me", 2, 0, False)
        assert row.claim_rev == rev
        assert row.epoch == found.fence.epoch
        assert record(store, "a").row == row

    def test_law_5_the_claim_has_the_record_that_load_gives_or_none(self, sessions: Sessions) -> None:
        store, labels = sessions.session(owner="me"), {"k": "v", "ü": '"'}
        (rev,) = make(store, creation("a", exchange='"first"', labels=labels, annotations={"n": "0"}))
        make(store, write("a", rev, going("on"), '"\\u0000 ü"'), creation("plain", exchange=None))
        make(store, Commit(delays=(Delay(State("plain", 0, going("on")), NOW, commit=False),)))
        make(store, publish("a", "x", "1"))
        make(store, publish("a", "x", "2", '"later"'))
        found = as_loaded(store, store.claim(FLOWS, NOW, 10))
        assert sorted(one.fence.id for one in found) == ["a", "plain", delay_key("plain", 1)]
        assert [one.payload for one in record(store, "a").events] == ["1", '"later"']

    def test_law_18_a_free_claim_does_what_a_claim_does_or_nothing(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("a"), creation("b", due=NOW + 1))
        before = record(store, "a").row
        found = store.claim_if_free(FLOWS, NOW, 5)
        if found is None:
            assert record(store, "a").row == before
            found = store.claim(FLOWS, NOW, 5)
        assert [one.fence.id for one in as_loaded(store, found)] == ["a"]
        assert claim(store) == {}

    def test_law_4_a_run_that_polls_is_fenced_like_others(self, sessions: Sessions) -> None:
        one, two = sessions.session(owner="one"), sessions.session(owner="two")
        (rev,) = make(one, creation("a", transition=polling()))
        late: list[Fence] = []
        for store in (one, two, one, two):
            found = claim(store)["a"]
            assert record(one, "a").row == found.row
            for fence in late:
                assert isinstance(refused(store, step(fence, rev)), LostClaim)
                assert store.release([Release(fence, NOW)], NOW) == [False]
            assert store.release([Release(found.fence, NOW)], NOW) == [True]
            late.append(found.fence)
        found = claim(one)["a"]
        (rev,) = make(one, step(found, rev, polling()))
        (rev,) = make(one, as_member(step(found, rev, polling())))
        assert one.release([Release(found.fence, NOW)], NOW) == [True]
        assert claim(two)["a"].row.claim_rev == rev
        one.beat(NOW, dead=["two"])
        assert isinstance(refused(one, step(found, rev)), LostClaim)
        found = claim(one)["a"]
        assert found.row.crashes == 1
        make(one, as_member(step(found, rev, ended(), end=True)))
        assert record(one, "a").row is None

    def test_law_4_a_poll_and_others_in_one_batch(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("poll", transition=polling()), creation("other"), creation("lost", transition=polling()))
        held = claim(store)
        assert store.release([Release(held["lost"].fence, NOW + 1)], NOW) == [True]
        batch = [as_member(step(one, one.row.claim_rev)) for one in held.values()]
        answers = dict(zip(held, store.commit(batch, NOW), strict=True))
        assert [run_id for run_id, answer in answers.items() if isinstance(answer, LostClaim)] == ["lost"]
        assert all(record(store, run_id).state.rev > held[run_id].row.claim_rev for run_id in ("poll", "other"))

    def test_law_5_few_rows_that_became_due_are_in_order(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, *[creation(f"r{n}", due=NOW + n, priority=n % 3) for n in range(1, 9)])
        order = [found.fence.id for _turn in range(4) for found in store.claim(FLOWS, NOW + 9, 2)]
        assert order == ["r3", "r6", "r1", "r4", "r7", "r2", "r5", "r8"]

    def test_law_5_skipped_ids_stay(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, *[creation(f"r{n}") for n in range(5)])
        assert {c.fence.id for c in store.claim(FLOWS, NOW, 2, skip={"r0", "r2"})} == {"r1", "r3"}
        assert set(claim(store)) == {"r0", "r2", "r4"}

    def test_law_5_limits(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("a"))
        assert store.claim(FLOWS, NOW, 0) == []
        assert store.claim({}, NOW, 5) == []

    def test_law_5_a_blocked_run_goes_to_another_definition(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("a"), creation("b"))
        held = claim(store, 1)["a"]
        assert store.release([Release(held.fence, NOW, blocked="position unknown", blocked_by="d1")], NOW) == [True]
        row = record(store, "a").row
        assert row is not None
        assert (row.blocked, row.blocked_by) == ("position unknown", "d1")
        assert set(claim(store)) == {"b"}
        assert store.next_due(FLOWS, NOW).next_due is None
        for definition in ("d0", "d2"):
            assert store.next_due({FLOW: definition}, NOW).next_due == NOW
            (found,) = store.claim({FLOW: definition}, NOW, 5)
            assert (found.row.blocked, found.row.blocked_by) == ("", "")
            store.release([Release(found.fence, NOW, blocked="no", blocked_by="d1")], NOW)

    def test_law_5_a_blocked_run_sleeps_until_its_time(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, _rev = begun(store, "a")
        store.release([Release(held.fence, NOW + 9, blocked="no", blocked_by="d1")], NOW)
        assert store.claim({FLOW: "d2"}, NOW, 5) == []
        assert [c.fence.id for c in store.claim({FLOW: "d2"}, NOW + 9, 5)] == ["a"]

    def test_release_moves_the_due_time_or_takes_the_row_away(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("a"), creation("b"))
        held = claim(store)
        assert store.release([Release(held["a"].fence, NOW + 5), Release(held["b"].fence, None)], NOW) == [True, True]
        row = record(store, "a").row
        assert row is not None
        assert (row.due, row.owner) == (NOW + 5, "")
        assert record(store, "b").row is None
        assert set(claim(store, now=NOW + 5)) == {"a"}

    def test_a_step_that_puts_its_run_off_sets_due_time_flow_and_priority(self, sessions: Sessions) -> None:
        store = sessions.session()
        for priority in (2, 7):
            make(store, creation(f"r{priority}", priority=2))
            held = claim(store)[f"r{priority}"]
            put_off = (Enqueue(held.fence.id, FLOW, NOW + 5, priority),)
            make(store, Commit(held.fence, writes=step(held, held.row.claim_rev).writes, queue=put_off))
        rows = [(c.row.due, c.row.priority, c.row.crashes) for c in claim(store, now=NOW + 5).values()]
        assert rows == [(NOW + 5, 2, 0), (NOW + 5, 7, 0)]

    def test_law_6_the_runs_of_the_dead_are_due_now(self, sessions: Sessions) -> None:
        one, two = sessions.session(owner="one"), sessions.session(owner="two")
        make(one, creation("a"), creation("b"))
        held = claim(one)
        moved = make(one, step(held["b"], held["b"].row.claim_rev))[0]
        two.beat(NOW, dead=["one"])
        found = claim(two, now=NOW)
        assert {run_id: c.row.crashes for run_id, c in found.items()} == {"a": 1, "b": 0}
        assert isinstance(one.commit([step(held["b"], moved)], NOW)[0], LostClaim)
        assert one.release([Release(held["a"].fence, NOW)], NOW) == [False]

    def test_law_19_owners_are_shown_with_the_flows_that_they_claim(self, sessions: Sessions) -> None:
        one, two, looker = (
            sessions.session(owner="one"),
            sessions.session(owner="two"),
            sessions.session(owner="looker"),
        )
        one.claim({"b": "", "a": ""}, NOW, 1)
        one.claim({"c": ""}, NOW, 1)
        two.beat(NOW)
        before = looker.time()
        one.beat(NOW)
        after = looker.time()
        shown = looker.read(OwnerQuery())
        at = shown[0].owner.beat_at
        assert at == NOW or (before is not None and after is not None and before <= at <= after)
        assert [(peer.owner.id, peer.owner.flows) for peer in shown] == [("one", ("a", "b", "c")), ("two", ())]
        assert not any(peer.lock == "free" for peer in shown)
        one.close()
        looker.beat(NOW, dead=["two"])
        assert [peer.owner.id for peer in two.read(OwnerQuery())] == ["looker"]

    def test_law_6_a_commit_clears_the_suspicion(self, sessions: Sessions) -> None:
        one, two = sessions.session(owner="one"), sessions.session(owner="two")
        make(one, creation("a"))
        rev = claim(one)["a"].row.claim_rev
        two.beat(NOW, dead=["one"])
        held = claim(one)["a"]
        assert held.row.crashes == 1
        make(one, step(held, rev))
        two.beat(NOW, dead=["one"])
        assert claim(two)["a"].row.crashes == 0

    def test_law_6_suspects_are_given_on_request_only(self, sessions: Sessions) -> None:
        one, two = sessions.session(owner="one"), sessions.session(owner="two")
        make(one, creation("a"), creation("b", due=NOW + 1))
        for _death in range(2):
            assert set(claim(one)) == {"a"}
            two.beat(NOW, dead=["one"])
        assert claim(two) == {}
        next_due = two.next_due(FLOWS, NOW)
        assert (next_due.suspects, next_due.next_due) == (1, NOW)
        assert two.claim(FLOWS, NOW + 1, 5, suspects=True, skip={"a"}) == []
        found = claim(two, now=NOW + 1, suspects=True)
        assert {run_id: c.row.crashes for run_id, c in found.items()} == {"a": 2}
        assert set(claim(two, now=NOW + 1)) == {"b"}

    def test_law_6_release_can_set_the_crashes(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, _rev = begun(store, "a")
        store.release([Release(held.fence, NOW, crashes=2)], NOW)
        held = claim(store, suspects=True)["a"]
        store.release([Release(held.fence, NOW)], NOW)
        held = claim(store, suspects=True)["a"]
        assert held.row.crashes == 2
        store.release([Release(held.fence, NOW, crashes=0)], NOW)
        assert claim(store)["a"].row.crashes == 0

    def test_law_6_a_suspect_becomes_a_usual_run_when_it_is_enqueued_again(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, _rev = begun(store, "a")
        store.release([Release(held.fence, NOW, crashes=3)], NOW)
        make(store, Commit(unowned=("a",), queue=(Enqueue("a", FLOW, NOW),)))
        assert claim(store)["a"].row.crashes == 0

    def test_beat_tells_of_the_others(self, sessions: Sessions) -> None:
        one, two = sessions.session(owner="one"), sessions.session(owner="two")
        one.beat(NOW)
        first = {peer.owner.id: peer for peer in two.beat(NOW).peers}
        assert set(first) == {"one"}
        assert first["one"].owner.host == "host"
        assert first["one"].lock in ("held", "unknown")
        one.beat(NOW)
        second = {peer.owner.id: peer for peer in two.beat(NOW).peers}
        assert second["one"].owner.beat > first["one"].owner.beat

    def test_an_owner_that_only_claimed_is_seen_too(self, sessions: Sessions) -> None:
        one, two = sessions.session(owner="one"), sessions.session(owner="two")
        make(one, creation("a"))
        claim(one)
        assert [peer.owner.id for peer in two.beat(NOW).peers] == ["one"]
        assert two.next_due(FLOWS, NOW).owned == {"one": 1}

    def test_close_gives_everything_back_without_a_crash(self, sessions: Sessions) -> None:
        one, two = sessions.session(owner="one"), sessions.session(owner="two")
        make(one, creation("a"))
        held = claim(one)["a"]
        one.beat(NOW)
        one.close()
        one.close()
        assert two.beat(NOW).peers == ()
        found = claim(two)["a"]
        assert found.row.crashes == 0
        assert isinstance(two.commit([step(Fence("a", held.fence.epoch), 1)], NOW)[0], LostClaim)

    def test_a_session_that_keeps_them_leaves_its_claims_to_the_next_one_of_its_owner(self, sessions: Sessions) -> None:
        one, two = sessions.session(owner="one"), sessions.session(owner="two")
        make(one, creation("a"))
        held = claim(one)["a"]
        one.beat(NOW)
        one.close(keep=True)
        one.close()
        assert claim(two) == {}
        again = sessions.session(owner="one")
        assert claim(again) == {}
        (found,) = again.load(["a"])
        assert found is not None
        assert found.row == held.row
        make(again, step(held, held.row.claim_rev))
