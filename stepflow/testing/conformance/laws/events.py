"""Law 7: events are stored once, delivered in order, consumed by a commit and never lost; and marks to cancel."""

from __future__ import annotations

from attrs import evolve

from stepflow.drivers.port.commit import Cancel, Commit, Dequeue, Enqueue, Release
from stepflow.errors import CancelRequested, LostClaim, NotFound, RunEnded
from stepflow.testing.conformance.kit import (
    FLOW,
    NOW,
    Sessions,
    as_member,
    awaiting,
    begun,
    claim,
    creation,
    ended,
    going,
    make,
    publish,
    record,
    step,
)

LATER = NOW + 1_000


class EventLaws:
    """Events and cancel marks reach the run whatever its holder does meanwhile."""

    def test_law_7_an_id_is_stored_once_per_run(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("a"), creation("b"))
        make(store, publish("a", "e", "1", '"first"'), publish("b", "e", "1"))
        make(store, publish("a", "e", "1", '"second"'))
        assert [event.payload for event in record(store, "a").events] == ['"first"']

    def test_law_7_an_id_counts_per_name(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("a"))
        for name, event_id in (("paid", "1"), ("address", "1"), ("paid", "2"), ("address", "1")):
            make(store, publish("a", name, event_id))
        assert [(event.name, event.id) for event in record(store, "a").events] == [
            ("paid", "1"),
            ("address", "1"),
            ("paid", "2"),
        ]

    def test_law_7_events_come_in_order(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("a"), creation("b"))
        for number in (3, 1, 2):
            make(store, publish("a", "e", f"id{number}"), publish("b", "e", "x"))
        events = record(store, "a").events
        assert [event.id for event in events] == ["id3", "id1", "id2"]
        assert [event.seq for event in events] == sorted({event.seq for event in events})
        assert {(event.run_id, event.name, event.published_at) for event in events} == {("a", "e", NOW)}

    def test_law_9_an_event_keeps_the_context_of_its_trace(self, sessions: Sessions) -> None:
        store, trace = sessions.session(), f"00-{'ab' * 16}-{'cd' * 8}-01"
        make(store, creation("a"))
        (event,) = publish("a", "e", "1").publish
        make(store, Commit(publish=(evolve(event, traceparent=trace), evolve(event, id="2"))))
        assert [found.traceparent for found in record(store, "a").events] == [trace, ""]
        assert [found.traceparent for found in record(sessions.session(), "a").events] == [trace, ""]

    def test_law_7_only_the_consuming_commit_removes_them(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, rev = begun(store, "a")
        make(store, publish("a", "e", "1"))
        make(store, publish("a", "e", "2"))
        first = record(store, "a").events[0]
        refused = Commit(held.fence, writes=step(held, rev + 99).writes, consume=(first.seq,))
        assert isinstance(store.commit([refused], NOW)[0], Exception)
        assert len(record(store, "a").events) == 2
        make(store, Commit(held.fence, writes=step(held, rev).writes, consume=(first.seq,)))
        assert [event.id for event in record(store, "a").events] == ["2"]

    def test_law_7_a_consumed_id_is_not_stored_again(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, _rev = begun(store, "a")
        make(store, publish("a", "e", "1"))
        make(store, Commit(held.fence, consume=(record(store, "a").events[0].seq,)))
        make(store, publish("a", "e", "1"))
        assert record(store, "a").events == ()

    def test_law_7_an_event_is_consumed_once_and_by_its_own_run(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("a"), creation("b"))
        held = claim(store)
        make(store, publish("a", "e", "1"))
        seq = record(store, "a").events[0].seq
        assert isinstance(store.commit([Commit(held["b"].fence, consume=(seq,))], NOW)[0], NotFound)
        make(store, Commit(held["a"].fence, consume=(seq,)))
        assert isinstance(store.commit([Commit(held["a"].fence, consume=(seq,))], NOW)[0], NotFound)
        assert isinstance(store.commit([Commit(consume=(seq,))], NOW)[0], NotFound)

    def test_law_7_publishing_to_nobody_is_refused(self, sessions: Sessions) -> None:
        (result,) = sessions.session().commit([publish("nobody", "e", "1")], NOW)
        assert isinstance(result, NotFound)

    def test_law_7_a_publish_wakes_a_run_that_waits_for_that_name(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("a", transition=awaiting("paid"), due=None, priority=4))
        make(store, creation("b", transition=awaiting("paid"), due=LATER, priority=5))
        make(store, publish("a", "other", "1"), publish("b", "other", "1"))
        assert claim(store) == {}
        make(store, publish("a", "paid", "2"), publish("b", "paid", "2"))
        assert {run_id: c.row.flow for run_id, c in claim(store).items()} == {"a": FLOW, "b": FLOW}

    def test_law_7_any_of_several_awaited_events_wakes_the_run(self, sessions: Sessions) -> None:
        store = sessions.session()
        several = awaiting("paid", 'odd "name", ü', "lost")
        for number, name in enumerate(("paid", 'odd "name", ü', "lost")):
            make(store, creation(f"r{number}", transition=several, due=None))
            make(store, creation(f"t{number}", transition=several, due=LATER))
            make(store, publish(f"r{number}", "other", "1"), publish(f"t{number}", "other", "1"))
            assert claim(store) == {}
            make(store, publish(f"r{number}", name, "2"), publish(f"t{number}", name, "2"))
            assert set(claim(store)) == {f"r{number}", f"t{number}"}

    def test_law_7_what_begins_to_wait_for_several_looks_for_each(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, *(creation(run_id) for run_id in ("r0", "r1", "r2")))
        held = claim(store)
        several = awaiting("paid", "sent")
        make(store, *(publish(run_id, "sent", "1") for run_id in ("r0", "r1")), publish("r2", "other", "1"))
        for run_id, one in held.items():
            begins = step(one, one.row.claim_rev, several)
            if run_id == "r1":
                make(store, Commit(one.fence, writes=begins.writes, queue=(Dequeue(run_id),)))
            else:
                make(store, begins)
                assert store.release([Release(one.fence, LATER, events=("paid", "sent"))], NOW) == [True]
        assert set(claim(store)) == {"r0", "r1"}

    def test_law_7_the_priority_outlives_a_wait_without_a_row(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("a", priority=4))
        held = claim(store)["a"]
        rev = make(store, step(held, held.row.claim_rev, awaiting("paid")))[0]
        store.release([Release(held.fence, None, events=("paid",))], NOW)
        assert record(store, "a").state.rev == rev
        make(store, publish("a", "paid", "1"))
        assert claim(store)["a"].row.priority == 4

    def test_law_7_release_looks_again(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("r0"), creation("r1"))
        for (run_id, held), due in zip(claim(store).items(), (None, LATER), strict=True):
            make(store, step(held, held.row.claim_rev, awaiting("paid")))
            make(store, publish(run_id, "paid", "1"))
            assert store.release([Release(held.fence, due, events=("paid",))], NOW) == [True]
        assert set(claim(store)) == {"r0", "r1"}

    def test_law_7_release_ignores_events_of_other_names(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, rev = begun(store, "a")
        make(store, step(held, rev, awaiting("paid")))
        make(store, publish("a", "other", "1"))
        store.release([Release(held.fence, LATER, events=("paid",))], NOW)
        assert claim(store) == {}

    def test_law_7_a_commit_that_begins_to_wait_looks_again(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, rev = begun(store, "a")
        make(store, publish("a", "paid", "1"))
        make(store, Commit(held.fence, writes=step(held, rev, awaiting("paid")).writes, queue=(Dequeue("a"),)))
        assert set(claim(store)) == {"a"}

    def test_law_7_a_back_off_before_a_wait_is_kept(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, rev = begun(store, "a")
        make(store, publish("a", "paid", "1"))
        again = Commit(held.fence, writes=step(held, rev, awaiting("paid")).writes, queue=(Enqueue("a", FLOW, LATER),))
        make(store, again)
        assert claim(store) == {}
        assert set(claim(store, now=LATER)) == {"a"}

    def test_law_7_a_run_that_ended_takes_no_new_event(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, rev = begun(store, "a")
        make(store, creation("b"), publish("a", "paid", "1"))
        make(store, step(held, rev, ended("cancelled"), end=True))
        make(store, publish("a", "paid", "1"))  # stored before, so it is no new one
        refused = Commit(publish=(*publish("b", "paid", "1").publish, *publish("a", "paid", "2").publish))
        (result,) = store.commit([refused], NOW)
        assert isinstance(result, RunEnded)
        assert (result.run_id, result.status) == ("a", "cancelled")
        assert [event.id for event in record(store, "a").events] == ["1"]
        assert record(store, "a").row is None
        assert record(store, "b").events == ()

    def test_law_7_a_failed_run_keeps_a_new_event_and_stays_failed(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, rev = begun(store, "a")
        make(store, step(held, rev, ended("failed"), end=True))
        make(store, publish("a", "paid", "1"))
        assert [event.id for event in record(store, "a").events] == ["1"]
        assert record(store, "a").row is None

    def test_law_7_a_publish_does_not_wake_what_is_held(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, rev = begun(store, "a")
        rev = make(store, step(held, rev, awaiting("paid")))[0]
        make(store, publish("a", "paid", "1"))
        row = record(store, "a").row
        assert row is not None
        assert row.epoch == held.fence.epoch
        make(store, step(held, rev, going(), end=False), now=NOW)

    def test_cancel_marks_a_held_run(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, rev = begun(store, "a")
        make(store, creation("b"))
        make(store, Commit(cancel=(Cancel("a"),)))
        assert store.beat(NOW).cancels == ("a",)
        for status in ("completed", "failed"):
            late = step(held, rev, ended(status), end=True)
            for member in (late, as_member(late)):
                (result,) = store.commit([member], NOW)
                assert isinstance(result, CancelRequested)
        assert store.beat(NOW).cancels == ("a",)
        make(store, step(held, rev, ended("cancelled"), end=True))
        assert store.beat(NOW).cancels == ()
        for run_id in ("a", "b", "nobody"):
            (result,) = store.commit([Commit(cancel=(Cancel(run_id),))], NOW)
            assert isinstance(result, LostClaim)

    def test_a_cancel_outlives_its_holder(self, sessions: Sessions) -> None:
        one, two = sessions.session(owner="one"), sessions.session(owner="two")
        make(one, creation("a"))
        claim(one)
        make(two, Commit(cancel=(Cancel("a"),)))
        two.beat(NOW, dead=["one"])
        assert claim(two)["a"].row.cancel
        assert two.beat(NOW).cancels == ("a",)

    def test_a_cancel_that_the_holder_has_not_seen_makes_the_run_due(self, sessions: Sessions) -> None:
        store = sessions.session()
        for number, due in enumerate((None, LATER, None, LATER, None, LATER)):
            run_id = f"r{number}"
            held, rev = begun(store, run_id)
            fence = held.fence
            make(store, Commit(cancel=(Cancel(run_id),)))
            if number < 2:
                store.release([Release(fence, due)], NOW)
            else:
                writes = step(held, rev).writes if number < 4 else ()
                make(
                    store, Commit(fence, writes=writes, queue=(Enqueue(run_id, FLOW, due) if due else Dequeue(run_id),))
                )
            assert claim(store)[run_id].row.cancel
