"""Law 26: what is paused is not claimed; a holder gives a paused run up with its next commit, and nothing is lost meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from stepflow.drivers.port.commit import Cancel, Commit, Dequeue, Enqueue, Fence, Release, Write
from stepflow.drivers.port.inbox import cancel_of
from stepflow.drivers.port.journal import JournalRow
from stepflow.drivers.port.pauses import FlowPause, Pause, PausedFlowRow, PausedFlowsQuery
from stepflow.drivers.port.queries import NotDueQuery, RunQuery, Tally, TallyQuery
from stepflow.drivers.port.step import Append
from stepflow.drivers.port.store import Store
from stepflow.errors import LostClaim, NotFound, PauseRequested, RunEnded
from stepflow.model.lifecycle import Status, status_of
from stepflow.model.limits import Limit, dump
from stepflow.model.state import State, Transition
from stepflow.testing.conformance.kit import (
    FLOW,
    FLOWS,
    NOW,
    Sessions,
    as_member,
    awaiting,
    begun,
    claim,
    creation,
    ended,
    going,
    journal,
    make,
    polling,
    publish,
    record,
    refused,
    step,
    write,
)

LIMITS = dump([Limit("k", 5)])


def pause(store: Store, *ids: str, paused: bool = True, now: int = NOW) -> None:
    """Pause runs, or let them go on."""
    make(store, Commit(pause=tuple(Pause(run_id, paused) for run_id in ids)), now=now)


def resume(store: Store, *ids: str, now: int = NOW) -> None:
    """Let runs go on."""
    pause(store, *ids, paused=False, now=now)


def pause_flow(store: Store, flow: str = FLOW, *, paused: bool = True, now: int = NOW) -> None:
    """Pause a flow, or let its runs be claimed again."""
    make(store, Commit(flow_pause=FlowPause(flow, paused, now)), now=now)


def status(store: Store, run_id: str, now: int = NOW) -> Status:
    """The status of a run, of whose flow it is known that it is not paused."""
    found = record(store, run_id)
    return status_of(found.state, found.row, now)


def listed(store: Store, wanted: str, now: int = NOW) -> set[str]:
    """The ids of the runs of a status, which the counts must agree with."""
    found = {one.state.id for one in store.read(RunQuery(now, status=wanted))}
    counts = [tally.count for tally in store.read(TallyQuery(now)) if tally.status == wanted]
    assert sum(counts) == len(found), (wanted, counts, found)
    return found


def kept(fence: Fence, rev: int) -> Sequence[Commit | Append]:
    """Commits of a holder that keep its claim, of every shape."""
    row = JournalRow("k", "once", "f", "1")
    owned = Enqueue(fence.id, FLOW, NOW, owned=True)
    return [
        step(fence, rev),
        as_member(step(fence, rev)),  # type: ignore[list-item]
        step(fence, rev)._replace(queue=(owned,)),
        Append(*fence, (row,)),
        Commit(fence),
        Commit(fence, journal=(row,)),
        Commit(fence, writes=(creation("child").writes[0],)),
    ]


class PauseLaws:
    """What pauses do."""

    def test_law_26_a_paused_run_is_not_claimed_until_it_is_resumed(self, sessions: Sessions) -> None:
        store, other = sessions.session(), sessions.session()
        make(store, *[creation(name) for name in "abc"], creation("late", due=NOW + 50), creation("l", limits=LIMITS))
        held = claim(store, 2)
        store.release(
            [Release(one.fence, NOW, blocked="why", blocked_by="d0", crashes=2) for one in held.values()], NOW
        )
        pause(store, "a", "b", "late", "l")
        pause(other, "b")
        assert set(claim(other, now=NOW + 100)) | set(claim(other, now=NOW + 100, suspects=True)) == {"c"}
        assert store.next_due(FLOWS, NOW).next_due is None
        assert store.next_due(FLOWS, NOW).suspects == 0
        assert store.read(NotDueQuery((FLOW,), NOW)) == [0, 0]
        assert listed(store, "paused") == {"a", "b", "late", "l"}
        for name in ("a", "b", "late", "l"):
            assert status(store, name) is Status.PAUSED
        resume(other, "a", "b", "late", "l", "c")
        assert record(store, "late").row.due == NOW + 50  # type: ignore[union-attr]
        assert record(store, "a").row[6:11] == (2, False, "why", "d0", "")  # type: ignore[index]
        assert set(claim(store)) == {"l"}
        assert set(claim(store, suspects=True)) == {"a", "b"}
        assert set(claim(store, now=NOW + 50)) == {"late"}
        assert sessions.driver.maintenance("").check() == []

    def test_law_26_a_holder_gives_up_the_claim_with_its_next_commit(self, sessions: Sessions) -> None:
        store, other = sessions.session(), sessions.session()
        found, rev = begun(store, "a")
        rev = make(store, as_member(step(found, rev)))[0]
        pause(other, "a")
        assert status(store, "a") is Status.RUNNING
        for member in kept(found.fence, rev):
            (answer,) = store.commit([member], NOW)
            assert isinstance(answer, PauseRequested), (member, answer)
            assert (answer.ids, answer.flows) == (["a"], [FLOW])
        assert record(store, "a").state.rev == rev
        assert not record(store, "a").journaled
        row = JournalRow("k", "once", "f", "1")
        leave = step(found, rev)._replace(queue=(Enqueue("a", FLOW, NOW + 9),), journal=(row,))
        make(store, leave)
        assert status(store, "a") is Status.PAUSED
        assert record(store, "a").journaled
        assert isinstance(refused(store, step(found, rev + 1)), LostClaim)
        assert claim(other, now=NOW + 99) == {}
        take = Commit(unowned=("a",), queue=(Enqueue("a", FLOW, NOW, owned=True),))
        assert isinstance(refused(other, take), PauseRequested)  # a claim, too
        resume(store, "a")
        assert claim(other) == {}
        assert set(claim(other, now=NOW + 9)) == {"a"}

    def test_law_26_a_holder_that_says_so_keeps_the_claim_until_what_it_has_begun_ends(
        self, sessions: Sessions
    ) -> None:
        store, other = sessions.session(), sessions.session()
        make(store, creation("held"))
        for name, transition in (("a", None), ("p", polling())):
            make(store, creation(name, transition=transition))
            found = claim(store)[name]
            fence, rev = found.fence, found.row.claim_rev
            make(store, publish(name, "paid", "1"))
            (event,) = record(store, name).events
            pause(other, name, "held")
            rows = [JournalRow(key, "step", "f", "1") for key in "abc"]
            last = Commit(fence, journal=(rows[0],), despite_pause=True)
            make(store, last, last._replace(journal=(rows[1],), consume=(event.seq,)))
            rev = make(store, as_member(step(fence, rev)._replace(despite_pause=True)))[0]
            make(store, Commit(fence, writes=(creation(f"child of {name}").writes[0],), despite_pause=True))
            assert [row.key for row in journal(store, name)] == ["a", "b"]
            assert (status(store, name), record(store, name).events) == (Status.RUNNING, ())
            for part in (Enqueue("held", FLOW, NOW, owned=True), Enqueue(name, FLOW, NOW, owned=True)):
                assert isinstance(refused(store, last._replace(queue=(part,))), PauseRequested)
            assert isinstance(store.commit([Append(*fence, (rows[2],))], NOW)[0], PauseRequested)
            assert claim(other, now=NOW + 99) == {}
            assert store.release([Release(fence, NOW)], NOW) == [True]
            assert isinstance(refused(store, last), LostClaim)
            assert status(store, name) is Status.PAUSED
            assert claim(other, now=NOW + 99) == {}
            resume(other, name)
            found = claim(other)[name]
            make(other, Commit(found.fence, journal=(rows[2],), despite_pause=True))  # it is not paused any more
            make(other, as_member(step(found, found.row.claim_rev, ended(), end=True)))
        assert sessions.driver.maintenance("").check() == []

    def test_law_26_a_resumed_holder_goes_on(self, sessions: Sessions) -> None:
        store, other = sessions.session(), sessions.session()
        for name, transition in (("a", None), ("p", polling())):
            make(store, creation(name, transition=transition))
            found = claim(store)[name]
            rev = found.row.claim_rev
            for _again in range(2):
                pause(other, name)
                assert isinstance(store.commit([as_member(step(found, rev))], NOW)[0], PauseRequested)
                resume(other, name)
                make(store, Commit(found.fence))  # it asks whether it may go on
                rev = make(store, as_member(step(found, rev)))[0]
            make(store, as_member(step(found, rev, ended(), end=True)))
        assert sessions.driver.maintenance("").check() == []

    def test_law_26_the_mark_survives_everything_but_the_end_and_a_cancel(self, sessions: Sessions) -> None:
        store, other, third = sessions.session(owner="one"), sessions.session(owner="two"), sessions.session()
        names = ("released", "polled", "dead", "left", "moved", "parked", "waits", "published")
        make(store, *[creation(name, transition=polling() if name == "polled" else None) for name in names])
        held = claim(store, 2, now=NOW) | claim(other)
        assert set(held) == set(names)
        by_owner = {"one": [n for n in names if held[n].row.owner == "one"]}
        pause(third, *names)
        for name in names[4:]:  # held or not
            fence, rev = held[name].fence, held[name].row.claim_rev
            holder = store if name in by_owner["one"] else other
            to, queue = awaiting("paid"), Dequeue(name)
            if name == "parked":
                to = Transition("", {})
            if name == "moved":
                make(holder, Commit(fence, queue=(Enqueue(name, FLOW, NOW),)))
                make(third, Commit(unowned=(name,), writes=write(name, rev).writes, queue=(Enqueue(name, FLOW, NOW),)))
                continue
            make(holder, step(fence, rev, to)._replace(queue=(queue,)))
        make(third, publish("published", "paid", "1"))
        for name in ("released", "polled"):
            holder = store if name in by_owner["one"] else other
            assert holder.release([Release(held[name].fence, None if name == "released" else NOW)], NOW) == [True]
        third.beat(NOW, dead=["two"])
        store.close()
        assert listed(third, "paused") == set(names)
        for suspects in (False, True):
            assert claim(third, now=NOW + 99, suspects=suspects) == {}
        assert third.next_due(FLOWS, NOW + 99).next_due is None
        resume(third, *names)
        assert set(claim(third, now=NOW)) == {"polled", "dead", "left", "moved", "published"}
        assert status(third, "waits") is Status.WAITING
        assert {status(third, name) for name in ("parked", "released")} == {Status.PARKED}
        assert sessions.driver.maintenance("").check() == []

    def test_law_26_events_are_stored_and_wake_nothing(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(
            store,
            creation("t", due=NOW + 50, transition=awaiting("paid")),
            creation("w", due=None, transition=awaiting("paid")),
        )
        pause(store, "t", "w")
        make(store, publish("t", "paid", "1"), publish("w", "sent", "1"))
        assert claim(store) == {}
        assert [event.name for event in record(store, "t").events] == ["paid"]
        resume(store, "t", "w")
        assert set(claim(store)) == {"t"}
        assert status(store, "w") is Status.WAITING
        pause(store, "w")
        make(store, publish("w", "paid", "1"))
        assert claim(store) == {}
        resume(store, "w")
        assert set(claim(store)) == {"w"}

    def test_law_26_a_cancel_takes_place_at_once(self, sessions: Sessions) -> None:
        store, other = sessions.session(), sessions.session()
        found, rev = begun(store, "held")
        make(store, creation("waits", due=None, transition=awaiting("paid")), creation("due"))
        pause(other, "held", "waits", "due")
        for name in ("waits", "due"):
            make(other, cancel_of(record(other, name), NOW))
            assert status(other, name) is Status.CANCELLED
            assert isinstance(refused(other, Commit(pause=(Pause(name),))), RunEnded)
            assert isinstance(refused(other, Commit(pause=(Pause(name, paused=False),))), RunEnded)
        make(other, Commit(cancel=(Cancel("held"),)))
        assert store.beat(NOW).cancels == ("held",)
        pause(other, "held")
        rev = make(store, as_member(step(found, rev)))[0]
        make(store, as_member(step(found, rev, ended("cancelled"), end=True)))
        found, rev = begun(store, "ends")
        pause(other, "ends")
        make(store, as_member(step(found, rev, ended(), end=True)))
        assert status(other, "ends") is Status.COMPLETED
        assert isinstance(refused(other, Commit(pause=(Pause("missing"),))), NotFound)

    def test_law_26_no_run_of_a_paused_flow_is_claimed(self, sessions: Sessions) -> None:
        store, other = sessions.session(), sessions.session()
        elsewhere = sessions.session("elsewhere")
        flows = {FLOW: "d1", "b": "d2", "ü\0": "d3"}
        make(elsewhere, creation("a"))
        make(
            store,
            creation("held"),
            creation("waits", due=None, transition=awaiting("paid")),
            creation("parked", due=None, transition=Transition("", {})),
            creation("sleeps", due=NOW + 5),
            creation("other", flow="b"),
        )
        held = claim(store)
        pause_flow(store, now=NOW - 3)
        pause_flow(other)  # it keeps its time
        make(store, creation("later"), creation("limited", limits=LIMITS))
        assert other.read(PausedFlowsQuery()) == [PausedFlowRow(FLOW, NOW - 3)]
        assert {one.fence.id for one in other.claim(flows, NOW, 9)} == {"other"}
        for suspects, session in product((False, True), (store, other)):
            assert session.claim(FLOWS, NOW + 99, 9, suspects=suspects) == []
        assert other.next_due(flows, NOW).next_due is None
        assert listed(other, "paused") == {"waits", "parked", "sleeps", "later", "limited"}
        assert listed(other, "running") == {"held", "other"}
        assert listed(other, "waiting") == listed(other, "queued") == listed(other, "parked") == set()
        assert Tally("b", "running", 1) in other.read(TallyQuery(NOW))
        fence, rev = held["held"].fence, held["held"].row.claim_rev
        make(store, as_member(step(fence, rev)))  # a held run goes on: only claims are refused
        assert set(claim(elsewhere)) == {"a"}
        pause_flow(other, "ü\0")
        pause_flow(store, paused=False)
        assert store.read(PausedFlowsQuery()) == [PausedFlowRow("ü\0", NOW)]
        assert set(claim(other)) == {"later", "limited"}
        assert set(claim(store, now=NOW + 5)) == {"sleeps"}
        assert listed(other, "paused", NOW + 5) == set()
        assert sessions.driver.maintenance("").check() == []

    def test_law_26_pauses_are_durable_and_atomic(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("a"), creation("b"))
        both = Commit(pause=(Pause("a"), Pause("missing")), flow_pause=FlowPause(FLOW, paused=True, at=NOW))
        assert isinstance(refused(store, both), NotFound)
        assert store.read(PausedFlowsQuery()) == []
        make(store, Commit(pause=(Pause("a"),), flow_pause=FlowPause("b", paused=True, at=NOW)))
        sessions.close()
        again = sessions.session()
        assert set(claim(again)) == {"b"}
        assert again.read(PausedFlowsQuery()) == [PausedFlowRow("b", NOW)]
        assert status(again, "a") is Status.PAUSED
        make(again, *[Commit(writes=(Write(State("n", 0, going())),), pause=(Pause("a", paused=False),))])
        assert set(claim(again)) == {"a"}
