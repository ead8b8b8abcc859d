"""Law 13: delays are part of their commit, with rows of their own in the queue."""

from __future__ import annotations

from collections.abc import Mapping

from stepflow.drivers.port.commit import (
    Cancel,
    Claim,
    Commit,
    Committed,
    Created,
    Dequeue,
    Enqueue,
    Fence,
    Release,
    Write,
)
from stepflow.drivers.port.delays import Delay, DelayQuery, delay_key
from stepflow.drivers.port.store import Store
from stepflow.errors import LostClaim, NotFound, RevMismatch
from stepflow.model.state import EMPTY, State, Transition
from stepflow.testing.conformance.kit import (
    FLOW,
    FLOWS,
    NOW,
    Sessions,
    begun,
    claim,
    creation,
    ended,
    going,
    make,
    numbers,
    record,
    refused,
    step,
    write,
)

LATER = NOW + 50
FAR = 2**62
NUL = "nul\x00, ü, '\""


def snapshot(run_id: str, rev: int = 0, annotations: Mapping[str, str] = EMPTY) -> State:
    """A State with the transition that it will take."""
    return State(run_id, rev, going("woken"), {"k": NUL}, annotations, 7)


def delays(*given: Delay) -> Commit:
    """The commit that only sets delays."""
    return Commit(delays=given)


def listed(store: Store, **query: int | str | bool) -> list[int]:
    """Offsets of the delays of a query."""
    return [delay.offset for delay in store.read(DelayQuery(**{"until": FAR, **query}))]  # type: ignore[arg-type]


def woken(store: Store, offset: int, run_id: str = "a", now: int = LATER) -> Claim:
    """Claim a delay that is due."""
    return claim(store, now=now)[delay_key(run_id, offset)]


class DelayLaws:
    """A delay is a row of the queue with a snapshot of its own."""

    def test_law_13_a_delay_of_a_run_that_never_was(self, sessions: Sessions) -> None:
        store, key = sessions.session(owner="me"), delay_key("a", 1)
        state = snapshot("a", annotations={NUL: NUL})
        assert numbers(store, delays(Delay(state, LATER))) == (1,)
        found = record(store, key)
        assert found.delay == Delay(state, LATER, True, 1)
        assert (found.state, found.created, found.exchange) == (state, Created(FLOW, "", LATER), "null")
        assert found.row is not None
        assert (found.row.flow, found.row.due, found.row.owner) == (FLOW, LATER, "")
        assert store.load(["a", delay_key("a", 2), key]) == [None, None, found]

    def test_law_13_a_delay_of_a_run_has_its_creation_and_exchange(self, sessions: Sessions) -> None:
        store = sessions.session()
        rev = make(store, creation("a", exchange="[1]", due=None, created_at=3))[0]
        numbers(store, delays(Delay(snapshot("a", rev), LATER, commit=False)))
        make(store, write("a", rev, exchange="[2]"))
        found = record(store, delay_key("a", 1))
        assert (found.created, found.exchange) == (Created(FLOW, "hash", 3), "[1]")
        assert found.delay == Delay(snapshot("a", rev), LATER, False, 1)
        assert record(store, "a").exchange == "[2]"

    def test_law_13_offsets_are_dense_and_atomic(self, sessions: Sessions) -> None:
        store, other = sessions.session(), sessions.session("other")
        assert numbers(store, delays(Delay(snapshot("a"), LATER), Delay(snapshot("b"), NOW))) == (1, 2)
        stale = Commit(writes=(Write(State("c", 99, going())),), delays=(Delay(snapshot("c"), NOW),))
        assert isinstance(refused(store, stale), RevMismatch)
        assert numbers(other, delays(Delay(snapshot("a"), LATER))) == (1,)
        first, none, second = store.commit([delays(Delay(snapshot("c"), 5)), stale, delays(Delay(snapshot("d"), 5))], 5)
        assert (first, second) == (Committed(offsets=(3,), committed_at=5), Committed(offsets=(4,), committed_at=5))
        assert isinstance(none, RevMismatch)
        assert listed(store) == [3, 4, 2, 1]
        assert listed(other) == [1]

    def test_law_13_a_delay_is_claimed_when_due(self, sessions: Sessions) -> None:
        one, two = sessions.session(owner="one"), sessions.session(owner="two")
        key = delay_key("a", 1)
        numbers(one, delays(Delay(snapshot("a", 3), LATER)))
        assert claim(one) == {}
        assert one.next_due(FLOWS, NOW).next_due == LATER
        found = woken(one, 1)
        assert (found.row.owner, found.row.claim_rev, found.row.crashes) == ("one", 3, 0)
        assert claim(two, now=LATER) == {}
        assert one.next_due(FLOWS, LATER).owned == {"one": 1}
        assert record(two, key).row == found.row

    def test_law_13_a_dequeue_fires_it(self, sessions: Sessions) -> None:
        store, key = sessions.session(), delay_key("a", 1)
        numbers(store, delays(Delay(snapshot("a"), NOW), Delay(snapshot("a"), LATER)))
        fence = woken(store, 1, now=NOW).fence
        over = Commit(fence, queue=(Dequeue(key),))
        assert isinstance(refused(store, Commit(Fence(key, fence.epoch - 1), queue=(Dequeue(key),))), LostClaim)
        assert numbers(store, over) == ()
        assert store.load([key]) == [None]
        assert isinstance(refused(store, over), LostClaim)
        assert [(d.offset, d.fired) for d in store.read(DelayQuery(FAR))] == [(1, True), (2, False)]
        assert listed(store, pending=True) == [2]
        numbers(store, Commit(queue=(Dequeue(key), Dequeue(delay_key("a", 2)), Dequeue(delay_key("a", 9)))))
        assert claim(store, now=LATER) == {}
        assert listed(store, pending=True) == []

    def test_law_13_a_delay_moves_its_run_in_one_commit(self, sessions: Sessions) -> None:
        one, two = sessions.session(owner="one"), sessions.session(owner="two")
        rev = make(one, creation("a", due=None))[0]
        numbers(one, delays(Delay(snapshot("a", rev), NOW)))
        fence = woken(one, 1).fence
        move = Commit(
            fence,
            writes=(Write(snapshot("a", rev)),),
            queue=(Dequeue(fence.id), Enqueue("a", FLOW, NOW, owned=True)),
        )
        new, epoch = numbers(one, move)
        assert record(one, "a").state.transition == going("woken")
        assert claim(two, now=LATER) == {}
        assert isinstance(refused(two, move), LostClaim)
        make(one, step(Fence("a", epoch), new, ended(), end=True))

    def test_law_13_a_delay_is_given_back_and_freed_like_a_run(self, sessions: Sessions) -> None:
        one, two = sessions.session(owner="one"), sessions.session(owner="two")
        numbers(one, delays(Delay(snapshot("a"), NOW)))
        fence = woken(one, 1).fence
        assert one.release([Release(fence, LATER + 1)], NOW) == [True]
        assert one.release([Release(fence, LATER)], NOW) == [False]
        assert claim(one, now=LATER) == {}
        woken(one, 1, now=LATER + 1)
        two.beat(NOW, dead=["one"])
        assert woken(two, 1, now=NOW).row.crashes == 1
        one.beat(NOW, dead=["two"])
        assert claim(one) == {}
        (suspect,) = claim(one, suspects=True).values()
        assert suspect.row.crashes == 2
        release = Release(suspect.fence, NOW, ("e",), blocked="no", blocked_by="d9", crashes=0)
        assert one.release([release], NOW) == [True]
        woken(one, 1, now=NOW)
        one.close()
        assert woken(two, 1, now=NOW).row.crashes == 0

    def test_law_13_a_delay_can_be_cancelled_while_it_is_held(self, sessions: Sessions) -> None:
        store, key = sessions.session(), delay_key("a", 1)
        numbers(store, delays(Delay(snapshot("a"), NOW)))
        assert isinstance(refused(store, Commit(cancel=(Cancel(key),))), LostClaim)
        woken(store, 1)
        assert isinstance(refused(store, Commit(unowned=(key,))), LostClaim)
        numbers(store, Commit(cancel=(Cancel(key),)))
        assert store.beat(NOW).cancels == (key,)

    def test_law_13_a_delay_cannot_be_enqueued(self, sessions: Sessions) -> None:
        store, key = sessions.session(), delay_key("a", 1)
        numbers(store, delays(Delay(snapshot("a"), NOW)))
        for owned in (False, True):
            assert isinstance(refused(store, Commit(queue=(Enqueue(key, FLOW, NOW, owned=owned),))), NotFound)

    def test_law_13_delays_are_listed_by_due_and_offset(self, sessions: Sessions) -> None:
        store = sessions.session()
        for run_id, due in (("a", 5), ("b", 3), ("a", 3), ("b", 9)):
            numbers(store, delays(Delay(snapshot(run_id), due)))
        assert listed(store) == [2, 3, 1, 4]
        assert listed(store, until=5) == [2, 3, 1]
        assert listed(store, until=8, since=3) == [1]
        assert listed(store, after=2) == [3, 4]
        assert listed(store, limit=3) == [2, 3, 1]
        assert listed(store, limit=0) == []
        assert listed(store, run_id="a") == [3, 1]
        assert listed(store, run_id="c") == []

    def test_law_13_a_reopened_store_has_its_delays(self, sessions: Sessions) -> None:
        one = sessions.session(owner="one")
        numbers(one, delays(Delay(snapshot("a"), NOW), Delay(snapshot("a", 5), LATER, commit=False)))
        numbers(one, Commit(queue=(Dequeue(delay_key("a", 1)),)))
        before = one.read(DelayQuery(FAR))
        one.close()
        two = sessions.session()
        assert two.read(DelayQuery(FAR)) == before
        assert set(claim(two, now=LATER)) == {delay_key("a", 2)}
        assert numbers(two, delays(Delay(snapshot("b"), NOW))) == (3,)
        assert sessions.driver.maintenance("").check() == []

    def test_law_13_a_run_with_a_pending_delay_is_not_pruned(self, sessions: Sessions) -> None:
        store, upkeep = sessions.session(), sessions.driver.maintenance("")
        make(store, creation("a", due=None, transition=ended()), creation("b", due=None, transition=ended()))
        numbers(store, delays(Delay(snapshot("a"), NOW), Delay(snapshot("b"), NOW)))
        assert upkeep.prune(NOW + 1, 10) == 0
        numbers(store, Commit(queue=(Dequeue(delay_key("b", 2)),)))
        assert upkeep.prune(NOW + 1, 10) == 1
        assert listed(store) == [1]
        assert upkeep.check() == []
        assert numbers(store, delays(Delay(snapshot("c"), NOW))) == (3,)

    def test_law_13_an_owned_row_belongs_to_the_committer(self, sessions: Sessions) -> None:
        one, two = sessions.session(owner="one"), sessions.session(owner="two")
        start = Commit(writes=creation("a").writes, queue=(Enqueue("a", FLOW, NOW, 3, owned=True),))
        rev, epoch = numbers(one, start)
        row = record(two, "a").row
        assert row is not None
        assert (row.owner, row.epoch, row.claim_rev, row.priority, row.crashes) == ("one", epoch, rev, 3, 0)
        assert [peer.owner.id for peer in two.beat(NOW).peers] == ["one"]
        assert claim(two) == {}
        make(one, step(Fence("a", epoch), rev, Transition("other")))
        two.beat(NOW, dead=["one"])
        assert claim(two)["a"].row.crashes == 0

    def test_law_13_an_owned_row_takes_the_place_of_the_one_before(self, sessions: Sessions) -> None:
        one, two = sessions.session(owner="one"), sessions.session(owner="two")
        held, rev = begun(one, "a")
        make(two, Commit(cancel=(Cancel("a"),)))
        moved = Write(State("a", rev, Transition("other")))
        move = Commit(held.fence, writes=(moved,), queue=(Enqueue("a", "other", LATER, owned=True),))
        new, epoch = numbers(one, move)
        row = record(one, "a").row
        assert row is not None
        assert (row.flow, row.owner, row.epoch, row.claim_rev, row.cancel) == ("other", "one", epoch, new, True)
        assert isinstance(refused(one, step(held, new)), LostClaim)
        assert one.release([Release(Fence("a", epoch), NOW)], NOW) == [True]
