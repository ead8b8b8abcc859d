"""Queries: lists, counts, the horizon and the notice of changes agree with the tables of the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from threading import Thread

import pytest

from stepflow.drivers.port.commit import AsleepQuery, Commit, Enqueue, Release, RunQuery, TallyQuery
from stepflow.drivers.port.delays import Delay
from stepflow.drivers.port.store import Store
from stepflow.errors import NotFound, StoreError
from stepflow.model.lifecycle import Status, status_of
from stepflow.model.state import WAITING, State, Transition
from stepflow.testing.conformance.kit import (
    FLOW,
    FLOWS,
    NOW,
    Desk,
    awaiting,
    birth,
    claim,
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
        birth("queued", created_at=1),
        birth("running", due=1, created_at=2),
        birth("sleeping", due=LATER, created_at=3),
        birth("delayed", due=LATER, transition=delayed, created_at=4),
        birth("polling", due=LATER, transition=polling, created_at=5),
        birth("polling-now", transition=polling, created_at=6, flow="other"),
        birth("waiting", due=None, transition=awaiting("e"), created_at=7),
        birth("waiting-until", due=LATER, transition=awaiting("e"), created_at=8),
        birth("parked", due=None, created_at=9, flow="other", labels={"k": "v", "t": "1"}),
        birth("blocked", due=1, created_at=10),
    )
    endings = ("completed", "failed", "cancelled")
    make(store, *[birth(s, due=None, transition=ended(s), created_at=11, labels={"k": "v"}) for s in endings])
    held = claim(store, 2)
    store.release([Release(held["blocked"].fence, LATER, blocked="no", blocked_by="d9")], NOW)


def _pages(store: Store, query: RunQuery) -> Iterator[str]:
    after: str | None = None
    while page := store.read(RunQuery(query.now, query.flow, query.status, query.labels, after, 2)):
        yield from (found.state.id for found in page)
        after = page[-1].state.id


class QueryLaws:
    """What lists and counts say is what the records say."""

    @pytest.mark.parametrize("now", [NOW, LATER])
    def test_statuses_agree_with_the_model(self, desk: Desk, now: int) -> None:
        store = desk.session()
        _zoo(store)
        every = store.read(RunQuery(now, limit=100))
        assert len(every) == 13
        loaded = store.load([found.state.id for found in every])
        assert [(r.state, r.born, r.row) for r in every] == [(r.state, r.born, r.row) for r in loaded if r]
        assert {(r.exchange, r.events) for r in every} == {("", ())}
        counts: Counter[tuple[str, str]] = Counter()
        for status in Status:
            if status is Status.PAUSED:
                continue
            found = [r.state.id for r in store.read(RunQuery(now, status=status.value, limit=100))]
            assert found == [r.state.id for r in every if status_of(r.state, r.row, now) is status]
            counts.update((r.born.flow, status.value) for r in every if r.state.id in found)
        assert {(t.flow, t.status): t.count for t in store.read(TallyQuery(now))} == counts
        for flow in (FLOW, "other"):
            assert store.read(AsleepQuery((flow,), now)) == [counts[flow, "sleeping"] + counts[flow, "waiting"]]
        assert store.read(RunQuery(now, status="nonsense")) == []

    def test_law_15_what_sleeps_or_waits_is_counted(self, desk: Desk) -> None:
        store, flows = desk.session(), (FLOW, "other")
        assert store.read(AsleepQuery(flows, NOW)) == [0]
        _zoo(store)
        before = store.read(AsleepQuery(flows, NOW))[0]
        make(store, Commit(delays=(Delay(State("parked", 0, going("on")), LATER, commit=False),)))
        make(store, birth("both", due=LATER, transition=awaiting("e")), publish("waiting", "e", "1"))  # wakes the run
        assert store.read(AsleepQuery(flows, NOW)) == [before + 1]
        assert store.read(AsleepQuery((), NOW)) == store.read(AsleepQuery(("nobody's",), NOW)) == [0]
        for one in claim(store, now=LATER).values():
            store.release([Release(one.fence, LATER + 5, event="e")], LATER)
        assert store.read(AsleepQuery(flows, LATER + 5)) == [0]

    def test_runs_come_newest_first_in_pages(self, desk: Desk) -> None:
        store = desk.session()
        _zoo(store)
        every = [r.state.id for r in store.read(RunQuery(NOW, limit=100))]
        born = {r.state.id: (r.born.created_at, r.state.id) for r in store.read(RunQuery(NOW, limit=100))}
        assert every == sorted(every, key=born.__getitem__, reverse=True)
        assert list(_pages(store, RunQuery(NOW))) == every
        assert list(_pages(store, RunQuery(NOW, flow="other"))) == ["parked", "polling-now"]
        assert list(_pages(store, RunQuery(NOW, status="waiting"))) == ["waiting-until", "waiting", "polling"]
        with pytest.raises(NotFound, match="gone"):
            store.read(RunQuery(NOW, after="gone"))

    def test_labels_must_all_be_equal(self, desk: Desk) -> None:
        store = desk.session()
        _zoo(store)
        names = list(_pages(store, RunQuery(NOW, labels={"k": "v"})))
        assert sorted(names) == ["cancelled", "completed", "failed", "parked"]
        assert list(_pages(store, RunQuery(NOW, labels={"k": "v", "t": "1"}))) == ["parked"]
        assert list(_pages(store, RunQuery(NOW, labels={"k": "v"}, status="failed"))) == ["failed"]
        assert list(_pages(store, RunQuery(NOW, labels={"k": "x"}))) == []
        rev = record(store, "parked").state.rev
        make(store, write("parked", rev))
        assert list(_pages(store, RunQuery(NOW, labels={"t": "1"}))) == []

    def test_the_horizon_tells_the_next_due_time(self, desk: Desk) -> None:
        store = desk.session(owner="me")
        assert store.horizon(FLOWS, NOW).next_due is None
        make(store, birth("a", due=LATER), birth("b", due=LATER + 5), birth("foreign", due=1, flow="other"))
        assert store.horizon(FLOWS, NOW).next_due == LATER
        head = make(store, birth("c", due=NOW - 3))[0]
        horizon = store.horizon(FLOWS, NOW)
        assert (horizon.next_due, horizon.head, horizon.owned, horizon.suspects) == (NOW - 3, head, {}, 0)
        claim(store)
        horizon = store.horizon(FLOWS, NOW)
        assert (horizon.next_due, horizon.owned) == (LATER, {"me": 1})
        make(store, Commit(queue=(Enqueue("b", FLOW, NOW),)))
        assert store.horizon(FLOWS, NOW).next_due == NOW

    def test_a_change_by_another_session_is_noticed(self, desk: Desk) -> None:
        one, two = desk.session(), desk.session()
        token = one.wait_for_change(0, 0)
        make(two, birth("a"))
        changed = one.wait_for_change(token, 30)
        assert changed != token
        assert one.wait_for_change(token, 0) == changed

    def test_the_own_changes_are_not(self, desk: Desk) -> None:
        store = desk.session()
        token = store.wait_for_change(0, 0)
        make(store, birth("a"))
        claim(store)
        make(store, publish("a", "e", "1"))
        assert store.wait_for_change(token, 0) == token

    def test_closing_ends_the_waiting(self, desk: Desk) -> None:
        store = desk.session()
        token = store.wait_for_change(0, 0)
        seen: list[int] = []
        waiter = Thread(target=lambda: seen.append(store.wait_for_change(token, 60)))
        waiter.start()
        store.close()
        waiter.join(10)
        assert not waiter.is_alive()

    def test_a_closed_session_says_so(self, desk: Desk) -> None:
        store = desk.session()
        store.close()
        calls = (
            lambda: store.commit([birth("a")], NOW),
            lambda: store.claim(FLOWS, NOW, 1),
            lambda: store.load(["a"]),
            lambda: store.beat(NOW),
            lambda: store.horizon(FLOWS, NOW),
        )
        for call in calls:
            with pytest.raises(StoreError, match="closed"):
                call()

    def test_a_position_is_kept_as_it_is(self, desk: Desk) -> None:
        store = desk.session()
        make(store, birth("a", transition=going("deep")))
        assert record(store, "a").state.transition == going("deep")
