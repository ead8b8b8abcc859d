"""Law 23: the end of a child reaches its parent with the commit that ends it, whatever commit that is."""

from __future__ import annotations

import pytest

from stepflow.drivers.port.commit import Cancel, Commit, Created, Dequeue, Enqueue, Event, Fence, Release, Write
from stepflow.drivers.port.inbox import cancel_of
from stepflow.drivers.port.journal import JournalRow
from stepflow.drivers.port.queries import RunQuery
from stepflow.drivers.port.step import step_of
from stepflow.drivers.port.store import Store
from stepflow.errors import CancelRequested, LostClaim, RevMismatch
from stepflow.model.family import PARENT, PARENT_FAILED, end_event
from stepflow.model.state import State
from stepflow.testing.conformance.kit import (
    FLOW,
    NOW,
    Sessions,
    awaiting,
    begun,
    claim,
    creation,
    ended,
    going,
    journal,
    make,
    record,
    refused,
    step,
)

OF_P = {PARENT: "p", "tenant": "ü"}
FINAL = ["completed", "failed", "cancelled"]


def heard(store: Store, run_id: str = "p") -> list[tuple[str, str, str]]:
    """Name, publish id and payload of the events that a run has."""
    return [(event.name, event.id, event.payload) for event in record(store, run_id).events]


def told(run_id: str, rev: int, status: str = "completed", parent: str = "p") -> tuple[str, str, str]:
    """The event that a parent gets."""
    return end_event(parent, run_id), str(rev), f'"{status}"'


class ChildLaws:
    """A run that the label PARENT names hears of the end of the one that has the label."""

    @pytest.mark.parametrize("status", FINAL)
    def test_law_23_a_step_that_ends_a_child_tells_its_parent(self, sessions: Sessions, status: str) -> None:
        store = sessions.session()
        make(store, creation("p", due=None, transition=awaiting(end_event("p", "p/a"))))
        make(store, creation("p/a", labels=OF_P))
        held = claim(store)["p/a"]
        rev = make(store, step(held, held.row.claim_rev, going("x"), labels=OF_P))[0]
        assert heard(store) == []
        assert record(store, "p").row is None
        last = step_of(step(held, rev, ended(status), labels=OF_P, end=True))
        assert last is not None
        (rev,) = make(store, last, now=NOW + 5)
        assert heard(store) == [told("p/a", rev, status)]
        (event,) = record(store, "p").events
        assert (event.run_id, event.published_at) == ("p", NOW + 5)
        parent = record(store, "p")
        assert parent.row is not None
        assert (parent.row.due, parent.row.owner) == (NOW + 5, "")
        assert sessions.driver.maintenance("").check() == []

    def test_law_23_many_children_end_beside_others_in_one_batch(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(
            store, creation("p", transition=awaiting(end_event("p", "p/3")), due=None), creation("q"), creation("alone")
        )
        kids = [f"p/{n}" for n in range(6)]
        make(store, *[creation(kid, labels=OF_P) for kid in kids], creation("q/x", labels={PARENT: "q"}))
        held = claim(store)
        members = []
        for kid in [*kids, "q/x", "alone"]:
            labels = record(store, kid).state.labels
            one = step(held[kid], held[kid].row.claim_rev, ended(), labels=labels, end=True)
            found = step_of(one)
            members.append(one if found is None or kid in ("p/1", "p/2") else found)
        revs = make(store, *members)
        assert len(set(revs)) == 8
        assert sorted(heard(store)) == sorted(told(kid, rev) for kid, rev in zip(kids, revs, strict=False))
        assert heard(store, "q") == [told("q/x", revs[6], parent="q")]
        assert heard(store, "alone") == []
        assert [one.fence.id for one in store.claim({FLOW: "d1"}, NOW, 10)] == ["p"]

    def test_law_23_what_is_refused_tells_nothing(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("p", due=None), creation("p/a", labels=OF_P))
        held = claim(store)["p/a"]
        rev = held.row.claim_rev
        lost = Fence("p/a", held.fence.epoch + 1)
        assert isinstance(refused(store, step(lost, rev, ended(), labels=OF_P, end=True)), LostClaim)
        assert isinstance(refused(store, step(held, rev + 1, ended(), labels=OF_P, end=True)), RevMismatch)
        make(store, Commit(cancel=(Cancel("p/a"),)))
        assert isinstance(refused(store, step(held, rev, ended(), labels=OF_P, end=True)), CancelRequested)
        assert heard(store) == []
        (rev,) = make(store, step(held, rev, ended("cancelled"), labels=OF_P, end=True))
        assert heard(store) == [told("p/a", rev, "cancelled")]

    def test_law_23_a_child_that_no_worker_holds_is_ended(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("p", due=None), creation("p/a", labels=OF_P))
        state = record(store, "p/a").state._replace(transition=ended("cancelled"))
        (rev,) = make(store, Commit(unowned=("p/a",), writes=(Write(state),), queue=(Dequeue("p/a"),)))
        assert heard(store) == [told("p/a", rev, "cancelled")]

    @pytest.mark.parametrize("is_held", [True, False])
    def test_law_23_a_child_keeps_the_event_that_comes_with_its_cancel(self, sessions: Sessions, is_held: bool) -> None:
        store, event = sessions.session(), Event("p/a", PARENT_FAILED, "p", "null", NOW)
        make(store, creation("p", due=None), creation("p/a", labels=OF_P))
        if is_held:
            held = claim(store)["p/a"]
            make(store, Commit(cancel=(Cancel("p/a"),), publish=(event,)))
            last = step(held, held.row.claim_rev, ended("cancelled"), labels=OF_P, end=True)
        else:
            last = cancel_of(record(store, "p/a"), NOW)._replace(publish=(event,))
        (rev,) = make(store, last)
        assert (heard(store), heard(store, "p/a")) == ([told("p/a", rev, "cancelled")], [(PARENT_FAILED, "p", "null")])
        assert isinstance(refused(store, Commit(cancel=(Cancel("p/a"),), publish=(event,))), LostClaim)
        assert sessions.driver.maintenance("").check() == []

    def test_law_23_a_child_ends_again_after_a_redrive(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("p", due=None), creation("p/a", labels=OF_P))
        held = claim(store)["p/a"]
        (first,) = make(store, step(held, held.row.claim_rev, ended("failed"), labels=OF_P, end=True))
        again = record(store, "p/a").state._replace(transition=going())
        make(store, Commit(unowned=("p/a",), writes=(Write(again),), queue=(Enqueue("p/a", FLOW, NOW),)))
        held = claim(store)["p/a"]
        (second,) = make(store, step(held, held.row.claim_rev, ended(), labels=OF_P, end=True))
        assert heard(store) == [told("p/a", first, "failed"), told("p/a", second)]

    def test_law_23_a_parent_that_is_over_or_gone_is_told_nothing(self, sessions: Sessions) -> None:
        store = sessions.session()
        parents = {status: creation(status, due=None, transition=ended(status)) for status in FINAL}
        make(store, *parents.values())
        for parent in [*FINAL, "missing"]:
            labels = {PARENT: parent}
            make(store, creation(f"{parent}/a", labels=labels))
            held = claim(store)[f"{parent}/a"]
            (rev,) = make(store, step(held, held.row.claim_rev, ended(), labels=labels, end=True))
            if parent != "missing":
                kept = [told(f"{parent}/a", rev, parent=parent)] if parent == "failed" else []
                assert heard(store, parent) == kept  # a failed one may go on

    def test_law_23_a_parent_that_waits_while_the_child_ends_is_released_at_once(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, rev = begun(store, "p")
        make(store, creation("p/a", labels=OF_P))
        child = claim(store)["p/a"]
        make(store, step(child, child.row.claim_rev, ended(), labels=OF_P, end=True))
        name = end_event("p", "p/a")
        state = State("p", rev, awaiting(name))
        make(store, Commit(held.fence, writes=(Write(state),), queue=(Dequeue("p"),)))
        held = claim(store)["p"]
        assert store.release([Release(held.fence, None, (name,))], NOW) == [True]
        assert list(claim(store)) == ["p"]

    def test_law_23_children_are_made_in_the_atom_of_a_journal_row(self, sessions: Sessions) -> None:
        store = sessions.session()
        held, _rev = begun(store, "p")
        row = JournalRow("kids", "child", "", "2")

        def start(*ids: str, status: str = "") -> Commit:
            made = ended(status) if status else going()
            states = [State(run_id, 0, made, OF_P) for run_id in ids]
            writes = tuple(Write(state, "{}", Created(FLOW, "hash", NOW)) for state in states)
            queue = () if status else tuple(Enqueue(run_id, FLOW, NOW) for run_id in ids)
            return Commit(held.fence, writes=writes, queue=queue, journal=(row,))

        make(store, creation("p/there"))
        assert isinstance(refused(store, start("p/a", "p/there")), RevMismatch)
        assert journal(store, "p") == []
        assert store.load(["p/a"]) == [None]
        make(store, start("p/a", "p/b"))
        assert journal(store, "p") == [row]
        assert sorted(claim(store)) == ["p/a", "p/b", "p/there"]
        made = start("p/done", status="completed")
        (rev,) = make(store, made)
        assert heard(store) == [told("p/done", rev)]
        alone = creation("p/alone", labels=OF_P, due=None, transition=ended())
        (later,) = make(store, alone)
        assert heard(store) == [told("p/done", rev), told("p/alone", later)]

    def test_law_15_open_runs_are_found_by_label_flow_and_page(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(
            store,
            creation("p/a", labels=OF_P, created_at=1),
            creation("p/b", labels=OF_P, created_at=2, due=None, transition=ended()),
            creation("p/c", labels=OF_P, created_at=3, due=None),
            creation("p/d", labels=OF_P, created_at=4, due=None, transition=awaiting("e"), flow="other"),
            creation("x", created_at=5),
        )
        labels = {PARENT: "p"}

        def found(**options: object) -> list[str]:
            return [one.state.id for one in store.read(RunQuery(NOW, open=True, **options))]  # type: ignore[arg-type]

        assert found(labels=labels) == ["p/d", "p/c", "p/a"]
        assert found(labels=labels, after=(4, "p/d"), limit=1) == ["p/c"]
        assert found(labels=labels, flow=FLOW) == ["p/c", "p/a"]
        assert found() == ["x", "p/d", "p/c", "p/a"]
        assert found(status="completed") == found(labels={PARENT: "q"}) == []
        assert found(status="parked") == ["p/c"]
        assert found(awaits=True) == ["p/d"]
