"""Races between sessions in several threads: nothing is lost, doubled or given twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from threading import Barrier, Event

import pytest

from stepflow.drivers.attached import Delay, DelayQuery
from stepflow.drivers.base import Store
from stepflow.drivers.values import Commit, HistoryQuery, Release
from stepflow.errors import RevMismatch
from stepflow.model.state import State, Transition
from stepflow.testing.conformance.kit import NOW, Desk, birth, claim, ended, going, make, publish, record, step, write

THREADS = 4
WAIT_S = 30.0
OVERTAKING_S = 0.2


def _together(desk: Desk, work: Callable[[Store, int], list[int]]) -> list[int]:
    """Run `work(session, number)` in several threads that begin at the same moment; all results in one list."""
    sessions = [desk.session() for _number in range(THREADS)]
    barrier = Barrier(THREADS)

    def one(number: int) -> list[int]:
        barrier.wait()
        return work(sessions[number], number)

    with ThreadPoolExecutor(THREADS) as pool:
        return [item for found in pool.map(one, range(THREADS)) for item in found]


def _creation(run_id: str, delayed: bool, rev: int = 0) -> Commit:
    """A run, perhaps with a delay of its own."""
    delays = (Delay(State(run_id, rev, going()), NOW),) if delayed else ()
    return Commit(writes=birth(run_id, due=None).writes, delays=delays)


def _slow(delayed: bool, entered: Event, gate: Event) -> Commit:
    """A commit that has its numbers and is not yet committed until the gate opens."""

    def resolve(revs: tuple[int, ...], _data: tuple[int, ...], _now: int) -> Commit:
        entered.set()
        gate.wait(WAIT_S)
        return _creation("slow", delayed, revs[0])

    return _creation("slow", delayed)._replace(resolve=resolve)


def _read_on(store: Store, bounded: bool) -> list[int]:
    """Read from revision to revision, as watchers do, until both commits were seen."""
    seen: list[int] = []
    while len(seen) < 2:
        until = store.horizon({}, NOW).head if bounded else None
        found = store.read(HistoryQuery(since_rev=seen[-1] if seen else 0, until_rev=until))
        seen += [revision.state.rev for revision in found]
    return seen


def _list_on(store: Store) -> list[int]:
    """List delays from offset to offset until both were seen."""
    seen: list[int] = []
    while len(seen) < 2:
        seen += [delay.offset for delay in store.read(DelayQuery(NOW, after=seen[-1] if seen else 0))]
    return seen


class RaceLaws:
    """The laws hold when several sessions work at once."""

    def test_law_2_one_writer_wins_each_revision(self, desk: Desk) -> None:
        first = make(desk.session(), birth("a", due=None))[0]

        def work(store: Store, _number: int) -> list[int]:
            won: list[int] = []
            while len(won) < 15:
                (result,) = store.commit([write("a", record(store, "a").state.rev)], NOW)
                if isinstance(result, RevMismatch):
                    continue
                assert isinstance(result, tuple)
                won += result
            return won

        revs = _together(desk, work)
        assert len(set(revs)) == THREADS * 15
        chain = [r.state.rev for r in desk.session().read(HistoryQuery("a", limit=1000))]
        assert chain == [first, *sorted(revs)]

    def test_law_3_a_watcher_misses_nothing(self, desk: Desk) -> None:
        rounds = 20

        def work(store: Store, number: int) -> list[int]:
            if number:
                batches = ([birth(f"{number}-{turn}-{n}", due=None) for n in range(3)] for turn in range(rounds))
                return [rev for batch in batches for rev in make(store, *batch)] and []
            seen: list[int] = []
            while len(seen) < (THREADS - 1) * rounds * 3:
                seen += [r.state.rev for r in store.read(HistoryQuery(since_rev=seen[-1] if seen else 0))]
            return seen

        seen = _together(desk, work)
        assert seen == sorted(set(seen))
        assert seen == [r.state.rev for r in desk.session().read(HistoryQuery(limit=10_000))]

    @pytest.mark.parametrize("delayed", [False, True])
    def test_law_3_a_commit_that_takes_long_is_not_overtaken(self, desk: Desk, delayed: bool) -> None:
        entered, gate, opening = Event(), Event(), ExitStack()
        slow, quick, *readers = (desk.session() for _ in range(5))
        with ThreadPoolExecutor(5) as pool, opening:
            opening.callback(gate.set)
            first = pool.submit(slow.commit, [_slow(delayed, entered, gate)], NOW)
            assert entered.wait(WAIT_S)
            second = pool.submit(quick.commit, [_creation("fast", delayed)], NOW)
            seen = [pool.submit(_read_on, readers[0], True), pool.submit(_read_on, readers[1], False)]
            listed = pool.submit(_list_on, readers[2]) if delayed else None
            wait([second], OVERTAKING_S)  # where commits are made one after the other, it waits for the first
            gate.set()
            assert [type(result) for one in (first, second) for result in one.result(WAIT_S)] == [tuple, tuple]
            revs = [r.state.rev for r in desk.session().read(HistoryQuery())]
            assert [one.result(WAIT_S) for one in seen] == [revs, revs]
            assert listed is None or listed.result(WAIT_S) == [1, 2]

    def test_law_5_every_run_is_advanced_by_one_holder_at_a_time(self, desk: Desk) -> None:
        ids = [f"r{n}" for n in range(40)]
        make(desk.session(), *[birth(run_id) for run_id in ids])

        def work(store: Store, _number: int) -> list[int]:
            done = []
            while held := claim(store, 3):
                for run_id, found in held.items():
                    rev = make(store, step(found, found.row.claim_rev))[0]
                    if rev % 3 == 0:
                        assert store.release([Release(found.fence, NOW)], NOW) == [True]
                    else:
                        make(store, step(found, rev, ended(), end=True))
                        done.append(int(run_id[1:]))
            return done

        assert Counter(_together(desk, work)) == Counter(range(40))

    def test_law_7_no_publish_falls_between_a_look_and_a_release(self, desk: Desk) -> None:
        runs = 30
        waiting = Transition("order", {"stepflow.waiting": "event:paid"})
        make(desk.session(), *[birth(f"r{n}", transition=waiting) for n in range(runs)])

        def work(store: Store, number: int) -> list[int]:
            if number % 2:
                mine = range(number // 2, runs, THREADS // 2)
                return [len(make(store, publish(f"r{n}", "paid", "1"))) for n in mine] and []
            found = []
            while held := claim(store, 2):
                for run_id, one in held.items():
                    if record(store, run_id).events:
                        found.append(int(run_id[1:]))
                        make(store, step(one, one.row.claim_rev, ended(), end=True))
                    else:
                        store.release([Release(one.fence, None, event="paid")], NOW)
            return found

        got = _together(desk, work)
        late = desk.session()
        got += [int(run_id[1:]) for run_id in claim(late)]
        assert sorted(got) == list(range(runs))
