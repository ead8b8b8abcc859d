"""A Hypothesis state machine: any driver answers every sequence of calls as the memory model does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stepflow.drivers.memory import MemoryDriver
from stepflow.drivers.port.commit import Cancel, Commit, Dequeue, Enqueue, Event, Fence, Release, Write
from stepflow.drivers.port.journal import JournalQuery
from stepflow.drivers.port.queries import EndedQuery, HistoryQuery, NotDueQuery, RunQuery, TallyQuery
from stepflow.drivers.port.step import Member
from stepflow.drivers.port.store import Driver
from stepflow.model.family import PARENT
from stepflow.model.lifecycle import Status
from stepflow.model.state import State
from stepflow.testing.conformance.kit import FLOW, as_loaded, as_member, creation, revisions
from stepflow.testing.conformance.model.choices import FLOWS, IDS, events, exchanges, ids, labels, offsets, transitions
from stepflow.testing.conformance.model.delays_and_data import KEYS as DELAYS
from stepflow.testing.conformance.model.delays_and_data import DelayAndDataRules
from stepflow.testing.conformance.model.journal import KEYS as JOURNALED
from stepflow.testing.conformance.model.journal import JournalRules
from stepflow.testing.conformance.model.pauses import PauseRules
from stepflow.testing.conformance.model.schedules import ScheduleRules
from stepflow.testing.conformance.model.sides import Side

T = TypeVar("T")
KEYS = (*IDS, *DELAYS)


class DriverMachine(DelayAndDataRules, JournalRules, ScheduleRules, PauseRules, RuleBasedStateMachine):
    """Subclass it with `make_driver` and give `TestCase` to the test runner."""

    def make_model(self) -> Driver:
        """The driver that the other one is compared with."""
        return MemoryDriver()

    def make_driver(self) -> Driver:
        """A fresh driver on an empty store; without a subclass, another model."""
        return MemoryDriver()

    def end_driver(self) -> None:
        """Remove what `make_driver` made; a model leaves nothing behind."""

    @initialize()
    def open(self) -> None:
        """Begin with two empty stores."""
        self.sides = (Side(self.make_model()), Side(self.make_driver()))
        self.now = 100
        self.reclaimed: set[str] = set()  # owners that were named as dead: a store may count their beats anew
        self.silent: set[str] = set()  # those that have not beaten since

    def teardown(self) -> None:
        """Close everything."""
        for side in getattr(self, "sides", ()):
            for session in side.sessions.values():
                session.close()
        self.end_driver()

    def both(self, call: Callable[[Side], T]) -> T:
        """Make the same call on both sides; they must answer alike."""
        model, real = (call(side) for side in self.sides)
        assert model == real
        return model

    def commit(self, batches: Callable[[Side], Sequence[Member]]) -> None:
        """Commit on both sides: the same members are refused for the same reason."""

        def call(side: Side) -> list[Any]:
            results = side.session("main").commit(batches(side), self.now)
            side.made(rev for result in results for rev in revisions(result))
            return [(type(result).__name__, getattr(result, "ids", len(revisions(result)))) for result in results]

        self.both(call)

    @rule(forward=st.integers(0, 4))
    def time_passes(self, forward: int) -> None:
        """The clock moves on."""
        self.now += forward

    @rule(
        created=st.lists(st.tuples(ids, st.none() | offsets, transitions, exchanges, labels), min_size=1, max_size=4),
        priority=st.integers(-1, 1),
        flow=st.sampled_from(list(FLOWS)),
    )
    def start(
        self, created: list[tuple[str, int | None, Any, str | None, dict[str, str]]], priority: int, flow: str
    ) -> None:
        """Start a few runs; some ids exist."""
        ids_of_batch = {one[0] for one in created}
        batch = [
            creation(
                run_id,
                due=None if due is None else self.now + due,
                transition=transition,
                exchange=exchange,
                # The order of a batch is free, so a parent that is made in it may be there or not when its child ends.
                labels={name: value for name, value in given.items() if name != PARENT or value not in ids_of_batch},
                priority=priority,
                flow=flow,
                created_at=self.now,
            )
            for run_id, due, transition, exchange, given in {one[0]: one for one in created}.values()
        ]
        self.commit(lambda _side: batch)

    @rule(
        moves=st.dictionaries(
            ids, st.tuples(transitions, exchanges, st.integers(0, 9), labels, st.booleans()), min_size=1, max_size=6
        ),
        then=st.sampled_from(["stay", "end", "later", "consume"]),
        due=offsets,
    )
    def steps(self, moves: dict[str, tuple[Any, str | None, int, dict[str, str], bool]], then: str, due: int) -> None:
        """A batch of steps under the fences that were claimed last, some as Steps; one in ten knows a wrong revision."""

        def batch(side: Side) -> list[Member]:
            found: list[Member] = []
            for (run_id, (transition, exchange, luck, given, usual)), record in zip(
                moves.items(), side.session("main").load(list(moves)), strict=True
            ):
                rev = record.state.rev if record and luck else 7_777_777
                fence = side.fences.get(run_id, Fence(run_id, 0))
                queue: tuple[Enqueue | Dequeue, ...] = ()
                if then == "later":
                    queue = (Enqueue(run_id, FLOW, self.now + due),)
                elif then == "end":
                    queue = (Dequeue(run_id),)
                first = tuple(event.seq for event in record.events[:1]) if record and then == "consume" else ()
                writes = (Write(State(run_id, rev, transition, given), exchange),)
                commit = Commit(fence, writes=writes, consume=first, queue=queue)
                found.append(as_member(commit) if usual else commit)
            return found

        self.commit(batch)

    @rule(run_id=ids, other=ids, transition=transitions, good=st.booleans())
    def move_unowned(self, run_id: str, other: str, transition: Any, good: bool) -> None:
        """Another session moves two runs at once, if the first has no owner."""

        def batch(side: Side) -> list[Commit]:
            records = side.session("main").load([run_id, other])
            revs = [record.state.rev if record and good else 0 for record in records]
            writes = tuple(Write(State(i, rev, transition)) for i, rev in zip((run_id, other), revs, strict=True))
            return [Commit(unowned=(run_id,), writes=writes, queue=(Enqueue(run_id, FLOW, self.now),))]

        self.commit(batch)

    @rule(run_id=ids, name=events, event_id=st.integers(1, 4), more=ids)
    def publish(self, run_id: str, name: str, event_id: int, more: str) -> None:
        """Publish to two runs in one batch."""
        batch = [
            Commit(publish=(Event(target, name, str(event_id), '"payload"', self.now),))
            for target in dict.fromkeys((run_id, more))
        ]
        self.commit(lambda _side: batch)

    @rule(run_id=ids)
    def cancel(self, run_id: str) -> None:
        """Ask the holder to stop."""
        self.commit(lambda _side: [Commit(cancel=(Cancel(run_id),))])

    @rule(owner=st.sampled_from(["main", "second"]), limit=st.integers(1, 3), suspects=st.booleans(), skip=st.sets(ids))
    def claim(self, owner: str, limit: int, suspects: bool, skip: set[str]) -> None:
        """Claim, and keep the fences."""

        def call(side: Side) -> list[Any]:
            store = side.session(owner)
            claims = as_loaded(store, store.claim(FLOWS, self.now, limit, suspects=suspects, skip=skip))
            side.fences |= {claim.fence.id: claim.fence for claim in claims}
            return [
                (claim.fence.id, claim.row._replace(epoch=0, claim_rev=side.rank(claim.row.claim_rev)))
                for claim in claims
            ]

        self.both(call)

    @rule(
        given=st.dictionaries(ids, st.none() | offsets, min_size=1, max_size=3),
        names=st.sampled_from([(), ("paid",), ("shipped", "paid")]),
        blocked=st.sampled_from(["", "d1", "d2"]),
        counts=st.tuples(st.sampled_from([None, None, 0, 2]), st.sampled_from([None, None, 0, 3])),
    )
    def release(
        self, given: dict[str, int | None], names: tuple[str, ...], blocked: str, counts: tuple[int | None, int | None]
    ) -> None:
        """Release a few claims, some of them lost."""

        def call(side: Side) -> list[bool]:
            batch = [
                Release(
                    side.fences.get(run_id, Fence(run_id, 0)),
                    None if due is None else self.now + due,
                    names,
                    blocked and "no",
                    blocked,
                    *counts,
                )
                for run_id, due in given.items()
            ]
            return side.session("main").release(batch, self.now)

        self.both(call)

    @rule(owner=st.sampled_from(["main", "second"]), dead=st.sampled_from([(), ("main",), ("second",), ("x",)]))
    def beat(self, owner: str, dead: tuple[str, ...]) -> None:
        """Beat, and reclaim the runs of owners that are named as dead; one that claims then is shown if it holds a run."""

        def call(side: Side) -> Any:
            reply, silent = side.session(owner).beat(self.now, dead), self.silent.union(dead)
            rows = [record.row for record in side.session(owner).load(KEYS) if record is not None]
            held = {row.owner for row in rows if row is not None}
            peers = [peer.owner for peer in reply.peers if peer.owner.id not in silent or peer.owner.id in held]
            anew = self.reclaimed.union(dead)
            beats = [(peer.id, None if peer.id in anew else peer.beat) for peer in peers]
            return sorted(beats, key=str), sorted(reply.cancels)

        self.both(call)
        self.silent = self.silent.union(dead) - {owner}
        self.reclaimed.update(dead)

    @precondition(lambda self: len(self.sides[0].sessions) > 0)
    @rule(owner=st.sampled_from(["main", "second"]))
    def reopen(self, owner: str) -> None:
        """Close a session; it is opened again when it is used."""
        for side in self.sides:
            if owner in side.sessions:
                side.sessions.pop(owner).close()
        self.silent.discard(owner)
        self.reclaimed.discard(owner)

    @rule(age=st.integers(0, 5), limit=st.integers(10, 20))
    def prune(self, age: int, limit: int) -> None:
        """Delete what ended a while ago."""
        self.both(lambda side: side.driver.maintenance("").prune(self.now - age, limit))

    @invariant()
    def same_runs(self) -> None:
        """Every run and every pending delay looks the same; both have the same journal rows in the same order.

        All that is compared is read once: it is most of the time that an example takes.
        """

        def call(side: Side) -> Any:
            records = dict(zip(KEYS, side.session("main").load(KEYS), strict=True))
            journals = side.session("main").read(JournalQuery(JOURNALED))
            for key, rows in zip(JOURNALED, journals, strict=True):
                assert sorted({row.seq for row in rows}) == [row.seq for row in rows]
                record = records[key]
                assert bool(rows) == (record is not None and record.journaled)
            written = [[row._replace(seq=0, epoch=0) for row in rows] for rows in journals]
            return [side.record(record) for record in records.values()], written

        self.both(call)

    @rule(since=st.integers(0, 40), limit=st.integers(1, 10), last=st.booleans(), run_id=st.none() | ids)
    def same_history(self, since: int, limit: int, last: bool, run_id: str | None) -> None:
        """The history is the same."""

        self.both(lambda side: side.history(HistoryQuery(run_id, side.last_of(since), limit, last)))

    @rule(
        given=st.none() | labels, status=st.none() | st.sampled_from([str(s) for s in Status]), limit=st.integers(1, 9)
    )
    def same_lists(self, given: dict[str, str] | None, status: str | None, limit: int) -> None:
        """Lists and counts are the same."""
        query = RunQuery(self.now, None, status, given, None, limit)
        self.both(lambda side: [side.record(record) for record in side.session("main").read(query)])
        self.both(lambda side: side.session("main").read(TallyQuery(self.now)))
        self.both(lambda side: side.session("main").read(NotDueQuery(tuple(FLOWS), self.now)))
        self.both(lambda side: sorted(side.session("main").read(EndedQuery((*IDS, "missing")))))

    @rule()
    def same_next_due(self) -> None:
        """What is due when is the same; of several ready runs any may be named."""

        def call(side: Side) -> Any:
            next_due = side.session("main").next_due(FLOWS, self.now)
            due = next_due.next_due
            return (
                due if due is None else max(due, self.now),
                next_due.suspects,
                dict(next_due.owned),
                side.rank(next_due.head),
            )

        self.both(call)

    @rule()
    def sound(self) -> None:
        """`check` reports no problem."""
        self.both(lambda side: side.driver.maintenance("").check())
