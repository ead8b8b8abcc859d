"""Does everything once that sessions do often, and counts what the server reads for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg

from stepflow.drivers.port.commit import Claim, Commit, Created, Dequeue, Enqueue, Event, Owner, Release, Write
from stepflow.drivers.port.queries import HistoryQuery, RunQuery
from stepflow.drivers.port.step import Member, Step
from stepflow.drivers.port.store import Store
from stepflow.drivers.postgres import PostgresDriver
from stepflow.errors import StepflowError
from stepflow.model.limits import Limit, dump
from stepflow.model.state import State, Transition

T = TypeVar("T")
NOW = 10**15
FLOWS = {"f.v1": "one"}
BUSY, ENDED = Transition("f.v1"), Transition("", {"stepflow.status": "completed"})
WAITS = Transition("f.v1", {"stepflow.waiting": "event:go"})
LIMITED = dump([Limit("all", 1_000_000, rate=1_000_000, per=1.0)])
# Blocks of indexes, and rows: blocks of tables also count where the server looked for space.
READ = (
    "select sum(coalesce(i.idx_blks_hit, 0) + coalesce(i.idx_blks_read, 0)"
    " + coalesce(t.idx_tup_fetch, 0) + coalesce(t.seq_tup_read, 0))"
    " from pg_statio_user_tables i join pg_stat_user_tables t using (relid) where t.schemaname = %s"
)


def creation(run_id: str, limits: str = "", due: int = NOW) -> Commit:
    """The start of a run that is due, with a label."""
    state = State(run_id, 0, BUSY, {"k": run_id[-1]}, {})
    row = Enqueue(run_id, "f.v1", due, limits=limits)
    return Commit(writes=(Write(state, "1", Created("f.v1", "h", NOW)),), queue=(row,))


def fill(url: str, runs: int, *, name: str = "fill", due: int = NOW - 1000) -> None:
    """Start so many runs in a session of its own."""
    with session(url, name) as store:
        for first in range(0, runs, 1000):
            store.commit([creation(f"{name}-{n:06}", due=due) for n in range(first, min(runs, first + 1000))], NOW)


@contextmanager
def session(url: str, name: str) -> Iterator[Store]:
    """A session with one connection besides the one that listens, so that each statement is planned once."""
    store: Any = PostgresDriver(f"{url}&connections=2").connect("", Owner(name, "host", 1), NOW)
    try:
        yield store
        flush(store)
    finally:
        store.close()


def flush(store: Any) -> None:
    """Let the server count what this session did until now, and not at some later time."""
    with store._runner.pool.use() as connection:
        connection.execute("select pg_stat_force_next_flush()")


class Hot:
    """What a session does often; with a connection `admin`, `read` has how many blocks of indexes and rows the server read for each."""

    def __init__(self, store: Any, name: str, admin: psycopg.Connection[Any] | None = None, schema: str = "") -> None:
        self._store, self._name, self._admin, self._schema = store, name, admin, schema
        self._round = 0
        self._revs: dict[str, int] = {}
        self.read: dict[str, int] = {}

    def _read(self) -> int:
        assert self._admin is not None
        flush(self._store)
        row = self._admin.execute(READ, (self._schema,)).fetchone()
        assert row is not None
        return int(row[0])

    def does(self, what: str, work: Callable[[], T]) -> T:
        """Do this and count what is read."""
        before = self._read() if self._admin else 0
        result = work()
        if self._admin:
            self.read[what] = self._read() - before
        return result

    def _commit(self, what: str, members: Iterable[Member]) -> None:
        some = list(members)
        answers = self.does(what, lambda: self._store.commit(some, NOW + 2))
        for member, answer in zip(some, answers, strict=True):
            if isinstance(answer, StepflowError):
                raise answer
            run_id = member.id if isinstance(member, Step) else member.writes[0].state.id if member.writes else ""
            self._revs[run_id] = answer[0] if isinstance(member, Step) else (*answer.revs, 0)[0]

    def _claim(self, what: str, flows: Mapping[str, str], now: int, many: int) -> list[Claim]:
        claims: list[Claim] = self.does(what, lambda: self._store.claim(flows, now, many))
        assert len(claims) == many, what
        absent = [claim.fence.id for claim in claims if claim.record is None]
        revs = {record.state.id: record.state.rev for record in self._store.load(absent)}
        for claim in claims:
            self._revs[claim.fence.id] = revs[claim.fence.id] if claim.record is None else claim.record.state.rev
        return claims

    def _step(self, claim: Claim, then: Transition, part: Any = None, labels: Mapping[str, str] | None = None) -> Step:
        run_id, before = claim.fence.id, {"k": claim.fence.id[-1]}
        if labels:
            return Step(run_id, claim.fence.epoch, self._revs[run_id], then, labels, {}, "2", part, before)
        return Step(run_id, claim.fence.epoch, self._revs[run_id], then, before, {}, "2", part)

    def _general(self, claim: Claim, then: Transition) -> Commit:
        """The same through the general path, as it is fenced and takes the events of the run."""
        state = State(claim.fence.id, self._revs[claim.fence.id], then, {"k": claim.fence.id[-1]}, {})
        return Commit(fence=claim.fence, writes=(Write(state),), queue=(Dequeue(claim.fence.id),))

    def everything(self, many: int) -> None:
        """Starts, claims, steps, ends, waits, events, releases, promotions, limits, blocked runs, and queries; `many` at a time."""
        self._round += 1
        store, does, new = self._store, self.does, f"{self._name}-{self._round}"
        # How rows are inserted is no choice of the planner.
        store.commit([creation(f"{new}-{n:03}") for n in range(4 * many)], NOW)
        claims = self._claim("claim", FLOWS, NOW + 1, 4 * many)
        does("load", lambda: store.load([claim.fence.id for claim in claims]))
        self._commit("step", [self._step(claim, BUSY) for claim in claims])
        ends, waits, sleeps, rest = (claims[n::4] for n in range(4))
        self._commit("relabel", [self._step(claim, BUSY, None, {"k": "new"}) for claim in rest])
        self._commit("end", [self._step(claim, ENDED, Dequeue(claim.fence.id)) for claim in ends])
        self._commit("wait", [self._general(claim, WAITS) for claim in waits])
        self._commit("sleep", [self._step(c, BUSY, Enqueue(c.fence.id, "f.v1", NOW + 50)) for c in sleeps])
        events = [Event(claim.fence.id, "go", "1", "1", NOW) for claim in waits]
        does("publish", lambda: store.commit([Commit(publish=(event,)) for event in events], NOW + 3))
        does("release", lambda: store.release([Release(claim.fence, NOW + 1) for claim in rest], NOW + 4))
        store.release([Release(c.fence, NOW) for c in self._claim("promote", FLOWS, NOW + 100, many)], NOW + 100)
        both = self._claim("claim for two flows", {**FLOWS, "g.v1": "two"}, NOW + 100, many)
        blocks = [Release(claim.fence, NOW + 1, blocked="why", blocked_by="older") for claim in both]
        does("block", lambda: store.release(blocks, NOW + 100))
        self._commit("end blocked", [self._general(c, ENDED) for c in self._claim("blocked", FLOWS, NOW + 101, many)])
        store.commit([creation(f"{new}-limited-{n}", LIMITED, NOW - 5000) for n in range(many)], NOW)
        self._commit("end limited", [self._general(c, ENDED) for c in self._claim("limited", FLOWS, NOW + 101, many)])
        self._ask(new)

    def _ask(self, new: str) -> None:
        store, does = self._store, self.does
        does("beat", lambda: store.beat(NOW + 5))
        does("next due", lambda: store.next_due(FLOWS, NOW + 6))
        does("list", lambda: store.read(RunQuery(NOW, limit=20)))
        does("list open", lambda: store.read(RunQuery(NOW, status="blocked", limit=20)))
        does("list labelled", lambda: store.read(RunQuery(NOW, labels={"k": "new"}, limit=20)))
        does("history", lambda: store.read(HistoryQuery(id=f"{new}-000")))
        does("feed", lambda: store.read(HistoryQuery(since_rev=max(self._revs.values()) - 10)))
