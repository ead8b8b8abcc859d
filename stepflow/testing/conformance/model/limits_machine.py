"""A Hypothesis state machine: after any sequence of calls, a claim takes exactly the runs that the limits allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import define, field
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stepflow.drivers.memory import MemoryDriver
from stepflow.drivers.port.commit import Commit, Dequeue, Enqueue, Fence, Owner, Release, Write
from stepflow.drivers.port.store import Driver, Store
from stepflow.model.limits import Limit, dump
from stepflow.model.state import State
from stepflow.testing.conformance.kit import FLOWS, creation, ended, going, revisions

PER = 3_000  # microseconds of every rate's period
K, L = Limit("k", 1), Limit("l", 2)
M, N = Limit("m", rate=1, per=PER / 1e6), Limit("n", rate=2, per=PER / 1e6)
BOTH, WIDER = Limit("k", 2, rate=2, per=PER / 1e6), Limit("l", 3)
limits = st.sampled_from([[], [K], [L], [M], [N], [K, N], [M, L], [BOTH], [WIDER, N]])  # few, so that runs meet
TICK = 1_000
CLAIMED = {**FLOWS, "other": "d2"}
flows = st.sampled_from(list(CLAIMED))


@define
class ExpectedRun:
    """What the machine knows of a run that has not ended."""

    limits: list[Limit]
    due: int | None
    priority: int
    flow: str
    owner: str = ""
    fence: Fence = field(factory=lambda: Fence("", 0))
    rev: int = 0
    begun: bool = False
    claimed: int = 0  # the revision when it was claimed
    crashes: int = 0


class LimitsMachine(RuleBasedStateMachine):
    """Subclass it with `make_driver` and give `TestCase` to the test runner. The oracle counts by itself, run by run."""

    def make_driver(self) -> Driver:
        """A fresh driver on an empty store."""
        return MemoryDriver()

    def end_driver(self) -> None:
        """Remove what `make_driver` made."""

    @initialize()
    def open(self) -> None:
        """Begin with an empty store and two sessions."""
        driver = self.make_driver()
        self.now, self.number = 1_000_000, 0
        self.sessions: dict[str, Store] = {
            name: driver.connect("", Owner(name, "host", 1), self.now) for name in ("one", "two")
        }
        self.runs: dict[str, ExpectedRun] = {}
        self.begins: list[tuple[str, int]] = []

    def teardown(self) -> None:
        """Close everything."""
        for session in getattr(self, "sessions", {}).values():
            session.close()
        self.end_driver()

    def allowed(self, run: ExpectedRun) -> bool:
        """Whether the limits of a run let it be taken now."""
        for limit in run.limits:
            held = sum(limit.key in {one.key for one in other.limits} for other in self.runs.values() if other.owner)
            if limit.concurrency is not None and held >= limit.concurrency:
                return False
            recent = sum(key == limit.key and at > self.now - PER for key, at in self.begins)
            if limit.rate is not None and not run.begun and recent >= limit.rate:
                return False
        return True

    @rule(forward=st.integers(0, 3))
    def time_passes(self, forward: int) -> None:
        """The clock moves on."""
        self.now += forward * TICK

    @rule(given=limits, many=st.integers(1, 3), priority=st.integers(-1, 1), wait=st.integers(0, 2), flow=flows)
    def start(self, given: list[Limit], many: int, priority: int, wait: int, flow: str) -> None:
        """Start some runs."""
        due = self.now + wait * TICK
        names = [f"r{self.number + n:03}" for n in range(many)]
        self.number += many
        batch = [creation(name, due=due, priority=priority, limits=dump(given), flow=flow) for name in names]
        for name, result in zip(names, self.sessions["one"].commit(batch, self.now), strict=True):
            (rev,) = revisions(result)
            self.runs[name] = ExpectedRun(given, due, priority, flow, rev=rev)

    def waiting(self, suspects: bool) -> dict[str, ExpectedRun]:
        """The runs that have a queue row and no owner."""
        return {
            name: run
            for name, run in self.runs.items()
            if run.due is not None and not run.owner and (run.crashes >= 2) is suspects
        }

    def next_of(self, due: Mapping[str, ExpectedRun], turns: Sequence[str]) -> str | None:
        """The run to take next, if there is one: of `due`, of the flow whose turn it is. Its name."""
        may = sorted(
            (run.priority, run.due, name)
            for name, run in due.items()
            if run.due is not None and run.due <= self.now and not run.owner and self.allowed(run)
        )
        for priority, _due, name in may:
            if priority < 0:
                return name
        for flow in turns:
            for _priority, _due, name in may:
                if due[name].flow == flow:
                    return name
        return None

    @rule(
        owner=st.sampled_from(["one", "two"]),
        most=st.integers(1, 4),
        suspects=st.sampled_from([False, False, True]),
        order=st.permutations(list(CLAIMED)),
    )
    def claim(self, owner: str, most: int, suspects: bool, order: list[str]) -> None:
        """A claim takes one after the other that is allowed: urgent ones, then of each flow in turn."""
        expected: list[str] = []
        due, turns = self.waiting(suspects), list(order)
        while len(expected) < most and (name := self.next_of(due, turns)) is not None:
            run = due[name]
            expected.append(name)
            if run.priority >= 0:
                turns = turns[turns.index(run.flow) + 1 :] + turns[: turns.index(run.flow) + 1]
            run.owner, run.claimed = owner, run.rev
            if not run.begun:
                self.begins += [(limit.key, self.now) for limit in run.limits if limit.rate is not None]
            run.begun = True
            # what goes on holds what it has a share of, and nothing of its rates
            run.limits = [Limit(one.key, one.concurrency) for one in run.limits if one.concurrency is not None]
        flows = {flow: CLAIMED[flow] for flow in order}
        claims = self.sessions[owner].claim(flows, self.now, most, suspects=suspects)
        assert [claim.fence.id for claim in claims] == expected
        for claim in claims:
            self.runs[claim.fence.id].fence = claim.fence

    @rule(pick=st.integers(0, 9), then=st.sampled_from(["end", "later", "release", "park"]), wait=st.integers(0, 2))
    def go_on(self, pick: int, then: str, wait: int) -> None:
        """A claimed run ends, is moved on, parked or released."""
        held = sorted(name for name, run in self.runs.items() if run.owner)
        if not held:
            return
        name = held[pick % len(held)]
        run, due = self.runs[name], self.now + wait * TICK
        session = self.sessions[run.owner]
        if then == "release":
            assert session.release([Release(run.fence, due)], self.now) == [True]
        else:
            queue = Enqueue(name, run.flow, due, run.priority) if then == "later" else Dequeue(name)
            write = Write(State(name, run.rev, ended() if then == "end" else going("next")))
            (result,) = session.commit([Commit(run.fence, writes=(write,), queue=(queue,))], self.now)
            (run.rev,), run.crashes = revisions(result), 0
        run.owner, run.due = "", None if then in ("end", "park") else due
        if then == "end":
            del self.runs[name]

    @rule(pick=st.integers(0, 9))
    def move(self, pick: int) -> None:
        """Another session enqueues a parked run; it still counts towards its concurrency limit."""
        parked = sorted(name for name, run in self.runs.items() if run.due is None and not run.owner)
        if parked:
            name = parked[pick % len(parked)]
            run = self.runs[name]
            enqueue = Commit(unowned=(name,), queue=(Enqueue(name, run.flow, self.now, run.priority),))
            (result,) = self.sessions["two"].commit([enqueue], self.now)
            assert isinstance(result, tuple)
            run.due = self.now

    @rule(dead=st.sampled_from(["one", "two"]))
    def reclaim(self, dead: str) -> None:
        """The runs of a dead owner are reclaimed; they are due now."""
        other = "two" if dead == "one" else "one"
        self.sessions[other].beat(self.now, [dead])
        for run in self.runs.values():
            if run.owner == dead:
                run.owner, run.due = "", self.now
                run.crashes = run.crashes + 1 if run.rev == run.claimed else 0

    @invariant()
    def next_due_is_no_later_than_what_can_be_taken(self) -> None:
        """A worker that sleeps until `next_due` misses no run that it may take now."""
        takeable = any(
            run.due is not None and run.due <= self.now and self.allowed(run) for run in self.waiting(False).values()
        )
        due = self.sessions["one"].next_due(CLAIMED, self.now).next_due
        if takeable:
            assert due is not None
            assert due <= self.now
