"""Queries: lists, counts, `next_due` and the notice of changes agree with the tables of the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest
from attrs import evolve

from stepflow.drivers.port.commit import Commit, Enqueue, Release
from stepflow.drivers.port.delays import Delay
from stepflow.drivers.port.queries import EndedQuery, NotDueQuery, RunQuery, TallyQuery
from stepflow.drivers.port.store import Store
from stepflow.errors import StoreError
from stepflow.model.lifecycle import Status, status_of
from stepflow.model.state import WAITING, State, Transition
from stepflow.testing.conformance.kit import (
    FLOW,
    FLOWS,
    NOW,
    Sessions,
    awaiting,
    claim,
    creation,
    ended,
    going,
    make,
    publish,
    record,
    write,
)

LATER = NOW + 1_000


def _zoo(store: Store) -> None:
    """Runs of every status and of every way into it."""
    polling = Transition(FLOW, {WAITING: "poll"})
    delayed = Transition(FLOW, {WAITING: "delay"})
    make(
        store,
        creation("queued", created_at=1),
        creation("running", due=1, created_at=2),
        creation("sleeping", due=LATER, created_at=3),
        creation("delayed", due=LATER, transition=delayed, created_at=4),
        creation("polling", due=LATER, transition=polling, created_at=5),
        creation("polling-now", transition=polling, created_at=6, flow="other"),
        creation("waiting", due=None, transition=awaiting("e"), created_at=7),
        creation("waiting-until", due=LATER, transition=awaiting("e"), created_at=8),
        creation("parked", due=None, created_at=9, flow="other", labels={"k": "v", "t": "1"}),
        creation("blocked", due=1, created_at=10),
    )
    endings = ("completed", "failed", "cancelled")
    make(store, *[creation(s, due=None, transition=ended(s), created_at=11, labels={"k": "v"}) for s in endings])
    held = claim(store, 2)
    store.release([Release(held["blocked"].fence, LATER, blocked="no", blocked_by="d9")], NOW)


def _pages(store: Store, query: RunQuery) -> Iterator[str]:
    while page := store.read(query := evolve(query, limit=2)):
        yield from (found.state.id for found in page)
        query = evolve(query, after=query.key_of(page[-1]))


class QueryLaws:
    """Lists and counts agree with the records."""

    @pytest.mark.parametrize("now", [NOW, LATER])
    def test_statuses_agree_with_the_model(self, sessions: Sessions, now: int) -> None:
        store = sessions.session()
        _zoo(store)
        every = store.read(RunQuery(now, limit=100))
        assert len(every) == 13
        loaded = store.load([found.state.id for found in every])
        assert [(r.state, r.created, r.row) for r in every] == [(r.state, r.created, r.row) for r in loaded if r]
        assert {(r.exchange, r.events) for r in every} == {("", ())}
        counts: Counter[tuple[str, str]] = Counter()
        for status in Status:
            if status is Status.PAUSED:
                continue
            found = [r.state.id for r in store.read(RunQuery(now, status=status.value, limit=100))]
            assert found == [r.state.id for r in every if status_of(r.state, r.row, now) is status]
            counts.update((r.created.flow, status.value) for r in every if r.state.id in found)
        assert {(t.flow, t.status): t.count for t in store.read(TallyQuery(now))} == counts
        for flow in (FLOW, "other"):
            asleep = counts[flow, "sleeping"] + counts[flow, "waiting"]
            assert store.read(NotDueQuery((flow,), now)) == [asleep, counts[flow, "blocked"]]
        assert store.read(RunQuery(now, status="nonsense")) == []

    def test_law_15_runs_that_wait_for_an_event_are_found_whatever_row_they_have(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(
            store,
            creation("never", due=None, transition=awaiting("e"), created_at=3),
            creation("later", due=LATER, transition=awaiting("e"), created_at=2),
            creation("due", transition=awaiting("e"), created_at=1),
            creation("other", due=None, transition=awaiting("e"), flow="other"),
            creation("plain"),
            creation("ended", due=None, transition=ended()),
            creation("parked", due=None),
        )

        def found(**options: Any) -> list[str]:
            return [record.state.id for record in store.read(RunQuery(NOW, awaits=True, **options))]

        assert found(status="completed") == []
        assert found(flow=FLOW) == ["never", "later", "due"]
        assert found(flow=FLOW, limit=2) == ["never", "later"]
        assert found(flow=FLOW, after=(2, "later")) == ["due"]
        assert found(flow=FLOW, status="waiting") == ["never", "later"]
        assert found() == ["other", "never", "later", "due"]
        assert found(labels={"k": "v"}) == []
        claim(store)
        assert found(flow=FLOW) == ["never", "later", "due"]

    def test_law_15_what_ended_is_told_of_many_runs(self, sessions: Sessions) -> None:
        store = sessions.session()
        _zoo(store)
        final = ["cancelled", "completed", "failed"]
        odd = ["missing", "\0", 'a"b\\']
        make(store, *[creation(f"end-{n}", due=None, transition=ended()) for n in range(300)])
        asked = (*[record.state.id for record in store.read(RunQuery(NOW, limit=500))], *odd)
        found = store.read(EndedQuery(asked))
        assert sorted(found) == sorted([*final, *odd, *[f"end-{n}" for n in range(300)]])
        assert store.read(EndedQuery(())) == store.read(EndedQuery(("queued", "parked"))) == []
        assert sessions.session("elsewhere").read(EndedQuery(("queued",))) == ["queued"]

    def test_law_15_what_sleeps_or_waits_is_counted(self, sessions: Sessions) -> None:
        store, flows = sessions.session(), (FLOW, "other")
        assert store.read(NotDueQuery(flows, NOW)) == [0, 0]
        _zoo(store)
        before, blocked = store.read(NotDueQuery(flows, NOW))
        assert blocked == len(store.read(RunQuery(NOW, status="blocked")))
        make(store, Commit(delays=(Delay(State("parked", 0, going("on")), LATER, commit=False),)))
        make(
            store, creation("both", due=LATER, transition=awaiting("e")), publish("waiting", "e", "1")
        )  # wakes the run
        assert store.read(NotDueQuery(flows, NOW)) == [before + 1, blocked]
        assert store.read(NotDueQuery((), NOW)) == store.read(NotDueQuery(("nobody's",), NOW)) == [0, 0]
        for one in claim(store, now=LATER).values():
            store.release([Release(one.fence, LATER + 5, events=("e",))], LATER)
        assert store.read(NotDueQuery(flows, LATER + 5))[0] == 0

    def test_runs_come_newest_first_in_pages(self, sessions: Sessions) -> None:
        store = sessions.session()
        _zoo(store)
        every = [r.state.id for r in store.read(RunQuery(NOW, limit=100))]
        created = {r.state.id: (r.created.created_at, r.state.id) for r in store.read(RunQuery(NOW, limit=100))}
        assert every == sorted(every, key=created.__getitem__, reverse=True)
        assert list(_pages(store, RunQuery(NOW))) == every
        assert list(_pages(store, RunQuery(NOW, flow="other"))) == ["parked", "polling-now"]
        assert list(_pages(store, RunQuery(NOW, status="waiting"))) == ["waiting-until", "waiting", "polling"]
        assert store.read(RunQuery(NOW, after=(10, "gone"), limit=1))[0].state.id == "blocked"

    def test_labels_must_all_be_equal(self, sessions: Sessions) -> None:
        store = sessions.session()
        _zoo(store)
        names = list(_pages(store, RunQuery(NOW, labels={"k": "v"})))
        assert sorted(names) == ["cancelled", "completed", "failed", "parked"]
        assert list(_pages(store, RunQuery(NOW, labels={"k": "v", "t": "1"}))) == ["parked"]
        assert list(_pages(store, RunQuery(NOW, labels={"k": "v"}, status="failed"))) == ["failed"]
        assert list(_pages(store, RunQuery(NOW, labels={"k": "x"}))) == []
        rev = record(store, "parked").state.rev
        make(store, write("parked", rev))
        assert list(_pages(store, RunQuery(NOW, labels={"t": "1"}))) == []

    def test_next_due_tells_the_next_due_time(self, sessions: Sessions) -> None:
        store = sessions.session(owner="me")
        assert store.next_due(FLOWS, NOW).next_due is None
        make(store, creation("a", due=LATER), creation("b", due=LATER + 5), creation("foreign", due=1, flow="other"))
        assert store.next_due(FLOWS, NOW).next_due == LATER
        head = make(store, creation("c", due=NOW - 3))[0]
        next_due = store.next_due(FLOWS, NOW)
        assert (next_due.next_due, next_due.head, next_due.owned, next_due.suspects) == (NOW - 3, head, {}, 0)
        claim(store)
        next_due = store.next_due(FLOWS, NOW)
        assert (next_due.next_due, next_due.owned) == (LATER, {"me": 1})
        make(store, Commit(queue=(Enqueue("b", FLOW, NOW),)))
        assert store.next_due(FLOWS, NOW).next_due == NOW

    def test_a_change_by_another_session_is_noticed(self, sessions: Sessions) -> None:
        one, two = sessions.session(), sessions.session()
        token = one.wait_for_change(0, 0)
        make(two, creation("a"))
        changed = one.wait_for_change(token, 30)
        assert changed != token
        assert one.wait_for_change(token, 0) == changed

    def test_the_own_changes_are_not(self, sessions: Sessions) -> None:
        store = sessions.session()
        token = store.wait_for_change(0, 0)
        make(store, creation("a"))
        claim(store)
        make(store, publish("a", "e", "1"))
        assert store.wait_for_change(token, 0) == token

    def test_closing_ends_the_waiting(self, sessions: Sessions) -> None:
        store = sessions.session()
        token = store.wait_for_change(0, 0)
        seen: list[int] = []
        waiter = Thread(target=lambda: seen.append(store.wait_for_change(token, 60)))
        waiter.start()
        store.close()
        waiter.join(60)
        assert not waiter.is_alive()

    def test_a_closed_session_says_so(self, sessions: Sessions) -> None:
        store = sessions.session()
        store.close()
        calls = (
            lambda: store.commit([creation("a")], NOW),
            lambda: store.claim(FLOWS, NOW, 1),
            lambda: store.load(["a"]),
            lambda: store.beat(NOW),
            lambda: store.next_due(FLOWS, NOW),
        )
        for call in calls:
            with pytest.raises(StoreError, match="closed"):
                call()

    def test_a_position_is_kept_as_it_is(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("a", transition=going("deep")))
        assert record(store, "a").state.transition == going("deep")
