"""Laws 16 and 17: limits are never exceeded and hold back no other run; a deduplication key starts one run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from stepflow.drivers.port.commit import Commit, DedupKey, Dequeue, Enqueue, Fence, Release
from stepflow.drivers.port.queries import LimitUsageQuery
from stepflow.drivers.port.store import Store
from stepflow.errors import Duplicate, RevMismatch
from stepflow.model.limits import Limit, dump
from stepflow.testing.conformance.kit import (  # fmt: skip
    FLOW,
    FLOWS,
    NOW,
    Sessions,
    awaiting,
    claim,
    creation,
    ended,
    make,
    publish,
    record,
    refused,
    step,
    write,
)

ONE, TWO = dump([Limit("k", 1)]), dump([Limit("k", 2)])
PERIOD = 10_000  # microseconds
THREE = dump([Limit("api", rate=3, per=PERIOD / 1e6)])
BOTH = dump([Limit("k", 2), Limit("api", rate=3, per=PERIOD / 1e6)])


def created(store: Store, names: str, limits: str, due: int = NOW, priority: int = 0) -> None:
    """Start runs with names of one letter."""
    make(store, *[creation(name, limits=limits, due=due, priority=priority) for name in names])


def taken(store: Store, now: int = NOW, limit: int = 100) -> str:
    """The names of the runs that a claim gives."""
    return "".join(claim.fence.id for claim in store.claim(FLOWS, now, limit))


def fence(store: Store, run_id: str) -> Fence:
    """The claim on a run as it stands."""
    row = record(store, run_id).row
    assert row is not None
    return Fence(run_id, row.epoch)


def end(store: Store, run_id: str) -> None:
    """A claimed run completes."""
    make(store, step(fence(store, run_id), record(store, run_id).state.rev, ended(), end=True))


class LimitLaws:
    """Flow control as every driver does it."""

    def test_law_16_no_more_are_held_than_the_limit(self, sessions: Sessions) -> None:
        one, two = sessions.session(), sessions.session()
        created(one, "abcde", TWO)
        assert taken(one) == "ab"
        assert taken(one) == taken(two) == ""
        assert one.next_due(FLOWS, NOW).next_due is None
        end(one, "a")
        assert one.next_due(FLOWS, NOW).next_due == NOW
        assert taken(two) == "c"
        assert one.release([Release(fence(one, "b"), NOW + 5)], NOW) == [True]
        assert taken(two) == "d"

    def test_law_16_others_are_not_kept_back(self, sessions: Sessions) -> None:
        store = sessions.session()
        created(store, "abc", ONE)
        created(store, "x", "", priority=5)
        created(store, "y", dump([Limit("other", 1)]), priority=6)
        assert [claim(store, limit=1).popitem()[0] for _turn in range(3)] == ["a", "x", "y"]
        assert claim(store) == {}

    def test_law_16_order_holds_across_lines(self, sessions: Sessions) -> None:
        store = sessions.session()
        for name, due, priority, limits in (
            ("a", 9, 0, TWO),
            ("b", 5, 1, TWO),
            ("c", 7, 0, ""),
            ("d", 1, 0, TWO),
            ("e", 8, 0, THREE),
            ("f", 2, 2, ""),
        ):
            created(store, name, limits, due=due, priority=priority)
        assert taken(store, limit=2) == "dc"
        assert taken(store, limit=2) == "ea"
        assert taken(store) == "f"  # b waits for one of k

    def test_law_16_all_limits_of_a_run_hold(self, sessions: Sessions) -> None:
        store = sessions.session()
        created(store, "abcdef", BOTH)
        assert taken(store) == "ab"
        end(store, "a")
        end(store, "b")
        assert taken(store) == "c"
        assert store.next_due(FLOWS, NOW).next_due == NOW + PERIOD
        assert taken(store, NOW + PERIOD - 1) == ""
        assert taken(store, NOW + PERIOD) == "d"

    def test_law_16_a_key_is_shared_by_flows_and_by_limits_of_other_numbers(self, sessions: Sessions) -> None:
        store, flows = sessions.session(), {**FLOWS, "other": "d2"}
        make(
            store,
            creation("a", limits=TWO),
            creation("b", limits=ONE, flow="other"),
            creation("c", limits=TWO, flow="other"),
        )
        assert [found.fence.id for found in store.claim(flows, NOW, 9)] == ["a", "c"]
        end(store, "a")
        assert store.claim(flows, NOW, 9) == []
        end(store, "c")
        assert [found.fence.id for found in store.claim(flows, NOW, 9)] == ["b"]

    def test_law_16_no_more_begin_than_the_rate_in_any_period(self, sessions: Sessions) -> None:
        store = sessions.session()
        created(store, "abcdefgh", THREE)
        assert taken(store, NOW, 1) == "a"
        assert taken(store, NOW + 4) == "bc"
        assert store.next_due(FLOWS, NOW + 4).next_due == NOW + PERIOD
        assert taken(store, NOW + PERIOD - 1) == ""
        assert taken(store, NOW + PERIOD) == "d"
        assert taken(store, NOW + PERIOD + 3) == ""
        assert taken(store, NOW + PERIOD + 4) == "ef"

    def test_law_16_a_line_whose_runs_have_ended_is_due_at_no_time(self, sessions: Sessions) -> None:
        store = sessions.session()
        created(store, "abcd", THREE)
        assert taken(store) == "abc"
        cancelled = write("d", record(store, "d").state.rev, ended("cancelled"))
        make(store, cancelled._replace(unowned=("d",), queue=(Dequeue("d"),)))
        assert store.next_due(FLOWS, NOW).next_due is None

    def test_law_16_a_run_that_has_begun_uses_no_rate_but_its_share(self, sessions: Sessions) -> None:
        store = sessions.session()
        created(store, "abcde", BOTH)
        assert taken(store) == "ab"
        for name in "ab":
            rev = record(store, name).state.rev
            put_off = Commit(fence(store, name), queue=(Enqueue(name, FLOW, NOW + 1),))
            make(store, put_off._replace(writes=step(fence(store, name), rev).writes))
        assert taken(store, NOW) == "c"  # the last begin of this period
        assert taken(store, NOW + 1) == "a"  # goes on; b waits for one of k
        end(store, "c")
        assert taken(store, NOW + 1) == "b"

    def test_law_16_a_wait_gives_the_share_back_and_the_event_asks_for_it(self, sessions: Sessions) -> None:
        store = sessions.session()
        created(store, "ab", ONE)
        assert taken(store) == "a"
        rev = record(store, "a").state.rev
        wait = step(fence(store, "a"), rev, awaiting("paid"))
        make(store, wait._replace(queue=(Dequeue("a"),)))
        assert taken(store) == "b"
        make(store, publish("a", "paid", "1"))
        assert taken(store) == ""
        end(store, "b")
        assert taken(store) == "a"

    def test_law_16_a_parked_run_asks_for_its_share_again(self, sessions: Sessions) -> None:
        store = sessions.session()
        created(store, "ab", ONE)
        assert taken(store) == "a"
        parked = step(fence(store, "a"), record(store, "a").state.rev)
        make(store, parked._replace(queue=(Dequeue("a"),)))
        assert taken(store) == "b"
        make(store, Commit(unowned=("a",), queue=(Enqueue("a", FLOW, NOW),)))
        assert taken(store) == ""
        end(store, "b")
        assert taken(store) == "a"

    def test_law_16_the_dead_hold_their_share_until_they_are_reclaimed(self, sessions: Sessions) -> None:
        dead, store = sessions.session(owner="dead"), sessions.session()
        created(store, "ab", ONE)
        assert taken(dead) == "a"
        assert taken(store) == ""
        store.beat(NOW, ["dead"])
        assert taken(store) == "a"

    def test_law_16_blocked_runs_and_suspects_keep_to_their_limits(self, sessions: Sessions) -> None:
        store = sessions.session()
        created(store, "abc", ONE)
        assert taken(store) == "a"
        store.release([Release(fence(store, "a"), NOW, blocked="no", blocked_by="old", crashes=0)], NOW)
        assert taken(store) == "a"
        store.release([Release(fence(store, "a"), NOW, crashes=2)], NOW)
        assert taken(store) == "b"
        assert store.claim(FLOWS, NOW, 9, suspects=True) == []
        end(store, "b")
        assert [found.fence.id for found in store.claim(FLOWS, NOW, 9, suspects=True)] == ["a"]
        assert taken(store) == ""

    def test_law_16_limits_outlive_the_session(self, sessions: Sessions) -> None:
        store = sessions.session()
        created(store, "abcde", BOTH)
        assert taken(store, limit=1) == "a"
        store.close()
        store = sessions.session()
        row = record(store, "a").row
        assert row is not None
        assert (row.limits, row.owner) == (TWO, "")
        assert taken(store) == "ab"
        end(store, "a")
        assert taken(store) == "c"
        end(store, "b")
        assert taken(store) == ""

    def test_law_16_sessions_that_claim_together_exceed_nothing(self, sessions: Sessions) -> None:
        stores = [sessions.session() for _ in range(4)]
        # A store may count how long it waited for others as time that has passed: no wait is as long as the period.
        limits = dump([Limit("k", 3), Limit("api", rate=20, per=86_400)])
        make(stores[0], *[creation(f"r{number:02}", limits=limits) for number in range(40)])
        most: list[int] = []

        def work(store: Store) -> int:
            number, more = 0, 3  # turns when all may have begun
            for _turn in range(2000):
                more -= len(most) >= 20
                if not more:
                    break
                for found in store.claim(FLOWS, NOW, 2):
                    number += 1
                    (limit_usage,) = store.read(LimitUsageQuery(limits, NOW))
                    most.append(len(limit_usage.held["k"]))
                    end(store, found.fence.id)
            return number

        with ThreadPoolExecutor(len(stores)) as pool:
            begun = sum(pool.map(work, stores))
        assert begun == 20
        assert max(most) <= 3

    def test_law_16_the_usage_tells_who_holds_and_when_runs_began(self, sessions: Sessions) -> None:
        store = sessions.session()
        created(store, "abc", BOTH)
        assert taken(store, NOW) == "ab"
        (limit_usage,) = store.read(LimitUsageQuery(BOTH, NOW + 1))
        assert sorted(limit_usage.held["k"]) == ["a", "b"]
        assert limit_usage.begun["api"] == [NOW, NOW]
        (later,) = store.read(LimitUsageQuery(BOTH, NOW + PERIOD))
        assert later.begun.get("api", []) == []

    def test_law_17_once_until_its_time(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("a")._replace(dedup=DedupKey("key", "a", NOW + 10)))
        again = creation("b")._replace(dedup=DedupKey("key", "b", NOW + 20))
        error = refused(store, again)
        assert isinstance(error, Duplicate)
        assert error.run_id == "a"
        assert store.load(["b"]) == [None]
        make(store, again, now=NOW + 10)
        assert isinstance(refused(store, creation("c")._replace(dedup=DedupKey("key", "c", NOW + 99))), Duplicate)
        make(store, creation("c")._replace(dedup=DedupKey("another", "c", NOW + 99)))

    def test_law_17_a_refused_commit_does_not_count(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("a"))
        assert isinstance(refused(store, creation("a")._replace(dedup=DedupKey("key", "a", NOW + 10))), RevMismatch)
        make(store, creation("b")._replace(dedup=DedupKey("key", "b", NOW + 10)))

    def test_law_17_one_of_a_batch_happens(self, sessions: Sessions) -> None:
        store = sessions.session()
        batch = [creation(name)._replace(dedup=DedupKey("key", name, NOW + 10)) for name in "abc"]
        results = store.commit(batch, NOW)
        assert [isinstance(result, tuple) for result in results].count(True) == 1
        assert sum(found is not None for found in store.load(list("abc"))) == 1

    def test_law_17_one_of_several_sessions_makes_it_happen(self, sessions: Sessions) -> None:
        stores = {name: sessions.session() for name in "abcd"}

        def start(name: str) -> bool:
            (result,) = stores[name].commit([creation(name)._replace(dedup=DedupKey("key", name, NOW + 10))], NOW)
            return isinstance(result, tuple)

        with ThreadPoolExecutor(len(stores)) as pool:
            assert list(pool.map(start, stores)).count(True) == 1

    def test_law_17_a_pruned_run_sets_its_key_free(self, sessions: Sessions) -> None:
        store = sessions.session()
        make(store, creation("a", transition=ended(), due=None)._replace(dedup=DedupKey("key", "a", NOW + 10_000_000)))
        assert sessions.driver.maintenance("").prune(NOW + 1, 10) == 1
        make(store, creation("b")._replace(dedup=DedupKey("key", "b", NOW + 10)))
