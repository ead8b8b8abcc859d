"""Races between sessions in several threads: nothing is lost, doubled or given twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from threading import Barrier, Condition, Event

import pytest

from stepflow.drivers.port.commit import Commit, Committed, Placeholder, Release, RevOf
from stepflow.drivers.port.delays import Delay, DelayQuery
from stepflow.drivers.port.queries import HistoryQuery
from stepflow.drivers.port.store import Store
from stepflow.errors import RevMismatch
from stepflow.model.state import State, Transition
from stepflow.testing.conformance.kit import (
    NOW,
    Sessions,
    claim,
    creation,
    ended,
    going,
    make,
    publish,
    record,
    revisions,
    step,
    write,
)

THREADS = 4
WAIT_S = 60.0
OVERTAKING_S = 0.3


def _together(sessions: Sessions, work: Callable[[Store, int], list[int]]) -> list[int]:
    """Run `work(session, number)` in several threads that begin at the same moment; all results in one list."""
    opened = [sessions.session() for _number in range(THREADS)]
    barrier = Barrier(THREADS)

    def one(number: int) -> list[int]:
        barrier.wait()
        return work(opened[number], number)

    with ThreadPoolExecutor(THREADS) as pool:
        return [item for found in pool.map(one, range(THREADS)) for item in found]


def _creation(run_id: str, delayed: bool) -> Commit:
    """A run, perhaps with a delay of its own."""
    delays = (Delay(State(run_id, 0, going()), NOW),) if delayed else ()
    return Commit(writes=creation(run_id, due=None).writes, delays=delays)


class _Gate(tuple[Placeholder, ...]):
    """Placeholders that a store, having the numbers for them, gets only when the gate opens."""

    entered: Event
    gate: Event

    def __iter__(self) -> Iterator[Placeholder]:
        self.entered.set()
        self.gate.wait(WAIT_S)
        return super().__iter__()


def _slow(delayed: bool, entered: Event, gate: Event) -> Commit:
    """A commit that has its numbers and is not yet committed until the gate opens."""
    place = Placeholder("delay", 0, None, RevOf(0)) if delayed else Placeholder("write", 0, "rev", RevOf(0))
    placeholders = _Gate([place])
    placeholders.entered, placeholders.gate = entered, gate
    return _creation("slow", delayed)._replace(placeholders=placeholders)


class RevisionReader:
    """Reads from number to number, as watchers do, until it is told that it is over."""

    def __init__(self, read: Callable[[int], list[int]]) -> None:
        self._read = read
        self._turned = Condition()
        self._turns = 0
        self.over = Event()

    def follow(self) -> list[int]:
        """All numbers that it meets."""
        seen: list[int] = []
        while True:
            last = self.over.is_set()
            seen += self._read(seen[-1] if seen else 0)
            with self._turned:
                self._turns += 1
                self._turned.notify_all()
            if last:
                return seen

    def look_again(self) -> None:
        """Wait until it has read once more, from the beginning to the end."""
        with self._turned:
            now = self._turns
            assert self._turned.wait_for(lambda: self._turns >= now + 2, WAIT_S)


def _readers(one: Store, two: Store, three: Store) -> list[RevisionReader]:
    """Three ways to read on: all revisions, those up to the head, and delays by their offsets."""

    def bounded(since: int) -> list[int]:
        query = HistoryQuery(since_rev=since, until_rev=two.next_due({}, NOW).head)
        return [revision.state.rev for revision in two.read(query)]

    return [
        RevisionReader(lambda since: [revision.state.rev for revision in one.read(HistoryQuery(since_rev=since))]),
        RevisionReader(bounded),
        RevisionReader(lambda since: [delay.offset for delay in three.read(DelayQuery(NOW, after=since))]),
    ]


class RaceLaws:
    """The laws hold when several sessions work at once."""

    def test_law_2_one_writer_wins_each_revision(self, sessions: Sessions) -> None:
        first = make(sessions.session(), creation("a", due=None))[0]

        def work(store: Store, _number: int) -> list[int]:
            won: list[int] = []
            while len(won) < 15:
                (result,) = store.commit([write("a", record(store, "a").state.rev)], NOW)
                if isinstance(result, RevMismatch):
                    continue
                assert isinstance(result, tuple)
                won += revisions(result)
            return won

        revs = _together(sessions, work)
        assert len(set(revs)) == THREADS * 15
        chain = [r.state.rev for r in sessions.session().read(HistoryQuery("a", limit=1000))]
        assert chain == [first, *sorted(revs)]

    def test_law_3_a_watcher_misses_nothing(self, sessions: Sessions) -> None:
        rounds = 20

        def work(store: Store, number: int) -> list[int]:
            if number:
                batches = ([creation(f"{number}-{turn}-{n}", due=None) for n in range(3)] for turn in range(rounds))
                return [rev for batch in batches for rev in make(store, *batch)] and []
            seen: list[int] = []
            while len(seen) < (THREADS - 1) * rounds * 3:
                seen += [r.state.rev for r in store.read(HistoryQuery(since_rev=seen[-1] if seen else 0))]
            return seen

        seen = _together(sessions, work)
        assert seen == sorted(set(seen))
        assert seen == [r.state.rev for r in sessions.session().read(HistoryQuery(limit=10_000))]

    @pytest.mark.parametrize("delayed", [False, True])
    def test_law_3_a_commit_that_takes_long_is_not_overtaken(self, sessions: Sessions, delayed: bool) -> None:
        entered, gate, opening = Event(), Event(), ExitStack()
        slow, quick, *others = (sessions.session() for _ in range(5))
        made = make(quick, creation("before", due=None))
        readers = _readers(*others)
        with ThreadPoolExecutor(5) as pool, opening:
            for event in (gate, *(reader.over for reader in readers)):
                opening.callback(event.set)
            first = pool.submit(slow.commit, [_slow(delayed, entered, gate)], NOW)
            assert entered.wait(WAIT_S)
            second = pool.submit(quick.commit, [_creation("fast", delayed)], NOW)
            seen = [pool.submit(reader.follow) for reader in readers]
            if wait([second], OVERTAKING_S).done:  # else commits are made one after the other
                for reader in readers:
                    reader.look_again()
            gate.set()
            assert [type(result) for one in (first, second) for result in one.result(WAIT_S)] == [Committed, Committed]
            for reader in readers:
                reader.over.set()
            revs = [r.state.rev for r in sessions.session().read(HistoryQuery())]
            assert (len(revs), revs[:1]) == (3, made)
            assert [one.result(WAIT_S) for one in seen] == [revs, revs, [1, 2] if delayed else []]

    def test_law_18_a_free_commit_waits_for_no_other_writer(self, sessions: Sessions) -> None:
        entered, gate = Event(), Event()
        slow, quick = sessions.session(), sessions.session()
        make(quick, creation("before", due=None))
        with ThreadPoolExecutor(2) as pool, ExitStack() as opening:
            opening.callback(gate.set)
            first = pool.submit(slow.commit, [_slow(False, entered, gate)], NOW)
            assert entered.wait(WAIT_S)
            answer = pool.submit(quick.commit_if_free, [_creation("fast", False)], NOW).result(WAIT_S)
            gate.set()
            assert [type(result) for result in first.result(WAIT_S)] == [Committed]
        found = quick.load(["fast"])
        assert answer is None or isinstance(answer[0], tuple)
        assert (found != [None]) is (answer is not None)

    def test_law_5_every_run_is_advanced_by_one_holder_at_a_time(self, sessions: Sessions) -> None:
        ids = [f"r{n}" for n in range(40)]
        make(sessions.session(), *[creation(run_id) for run_id in ids])

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

        assert Counter(_together(sessions, work)) == Counter(range(40))

    def test_law_7_no_publish_falls_between_a_look_and_a_release(self, sessions: Sessions) -> None:
        runs = 30
        waiting = Transition("order", {"stepflow.waiting": "event:paid"})
        make(sessions.session(), *[creation(f"r{n}", transition=waiting) for n in range(runs)])

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
                        store.release([Release(one.fence, None, events=("paid",))], NOW)
            return found

        got = _together(sessions, work)
        late = sessions.session()
        got += [int(run_id[1:]) for run_id in claim(late)]
        assert sorted(got) == list(range(runs))
