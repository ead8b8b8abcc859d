"""FlowstateStore: a session on a server that speaks flowstate.v1 and nothing else.

The protocol has a log of States with optimistic commits, queries by labels, delays and data. It has no claims: the queue of a session
is its own (`queue.py`), what keeps sessions apart is the revision of a State. What it has no place for is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from threading import Event, RLock
from typing import Any

from stepflow.drivers.http.flowstate import messages as m
from stepflow.drivers.http.flowstate.client import FlowstateClient
from stepflow.drivers.http.flowstate.follower import Follower
from stepflow.drivers.http.flowstate.queue import Entry, LocalQueue, recovered_at
from stepflow.drivers.http.flowstate.reads import Reads
from stepflow.drivers.http.flowstate.requests import unsupported
from stepflow.drivers.http.flowstate.writes import Writes, Written
from stepflow.drivers.port.commit import (
    Claim,
    Commit,
    CommitResult,
    Committed,
    Created,
    Enqueue,
    Fence,
    HeartbeatReply,
    Owner,
    Record,
    Release,
    Write,
)
from stepflow.drivers.port.delays import DataQuery, DelayQuery
from stepflow.drivers.port.journal import JournalQuery
from stepflow.drivers.port.pauses import PausedFlowsQuery
from stepflow.drivers.port.pruning import Pruned, PrunedId
from stepflow.drivers.port.queries import DueSummary, HistoryQuery, NotDueQuery, PrunedQuery, RunQuery
from stepflow.drivers.port.refusals import lost_claim
from stepflow.drivers.port.rules import NO_EXCHANGE
from stepflow.drivers.port.schedules import ScheduleQuery
from stepflow.drivers.port.step import Member, answer, whole
from stepflow.drivers.port.store import Maintenance, Query, Store
from stepflow.errors import ReadOnly, RevMismatch, StepflowError, StoreError
from stepflow.model import host
from stepflow.model.recovery import TRIED, max_attempts, tried
from stepflow.model.state import State, Transition

POLL_S = 0.25  # between two looks for a newer revision, while something waits for one
MOST_SKEW = 10 * m.SECOND
ATTEMPTS = 3  # of a State that no program moved on, by the origin's recovery
log = logging.getLogger("stepflow")


class FlowstateStore(Store):
    """One engine's session. Claims hold within it; beside other programs a claim is a revision that only it could make."""

    takes_deltas = False

    def __init__(self, client: FlowstateClient, namespace: str, owner: Owner, now: int) -> None:
        if namespace:
            raise StoreError(
                f"namespace={namespace!r}: {client.address} is a flowstate server, which has no namespaces: leave it out"
            )
        self._client, self._owner = client, owner
        self._reads = Reads(client)
        self._writes = Writes(client, self._reads)
        self._queue = LocalQueue(owner.id)
        self._follower = Follower(self._reads, self._queue)
        self._lock = RLock()  # of the queue and the follower
        self._closed = Event()
        self._reads.newest()
        if (server := client.date) is not None and abs(server * m.SECOND - now) > MOST_SKEW:
            log.warning(
                "the clock of this host and that of %s differ by %d seconds: States of other programs are taken over at the wrong"
                " time, and delays carried out at that of this host; set the clocks",
                client.address, (now - server * m.SECOND) // m.SECOND,
            )  # fmt: skip

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise StoreError("this session is closed: open another one")

    def close(self, keep: bool = False) -> None:  # noqa: ARG002 - no other session knows what this one claimed
        """End the session; what it had claimed is taken over when its time of recovery has come."""
        if not self._closed.is_set():
            self._closed.set()
            self._client.close()

    def commit(self, batch: Sequence[Member], now: int) -> list[CommitResult]:  # noqa: ARG002 - servers give the time
        """One request for each commit: a refused one must not disturb the others."""
        self._check_open()
        return [answer(member, self._commit(whole(member))) for member in batch]

    def _commit(self, commit: Commit) -> Committed | StepflowError:
        with self._lock:
            fences = [fence for fence in (commit.fence,) if fence is not None and not self._queue.holds(fence)]
            fences += [Fence(run_id, 0) for run_id in commit.unowned if self._queue.owned(run_id)]
            if fences:
                return lost_claim(*fences[0])
            known = {*self._queue.entries, *(write.state.id for write in commit.writes)}
            if any(isinstance(part, Enqueue) and part.id not in known for part in commit.queue):
                return self._refusal("queue of runs")
            try:
                return self._note(commit, self._writes.commit(commit))
            except StepflowError as error:
                return error

    def _note(self, commit: Commit, written: Written) -> Committed:
        for state in written.states:
            self._queue.committed(state)
        epochs = self._queue.apply(commit.queue, {state.id: state for state in written.states})
        if commit.delays:
            self._follower.hurry()
        revs = tuple(state.rev for state in written.states)
        at = max((state.committed_at for state in written.states), default=0)
        return Committed(revs, written.data_revs, (0,) * len(commit.delays), epochs, at)

    def claim(
        self, flows: Mapping[str, str], now: int, limit: int, *, suspects: bool = False, skip: Collection[str] = ()
    ) -> list[Claim]:
        """Rows of this session, and States that no program moved on in time: each of those by a commit."""
        self._check_open()
        if suspects:
            return []
        with self._lock:
            self._follower.look(flows, now)
            claims: list[Claim] = []
            for key in self._queue.due(flows, now, limit, skip):
                try:
                    claim = self._claim(key, now)
                except StoreError:
                    if claims:  # an error would lose them; it comes again with the next claim
                        break
                    raise
                claims += [] if claim is None else [claim]
            return claims

    def _claim(self, key: str, now: int) -> Claim | None:
        entry = self._queue.entries[key]
        state, crashes = entry.state, 0
        if entry.foreign and tried(state) >= max_attempts(state, ATTEMPTS):
            crashes = tried(state)  # its attempt ends it, by a commit
        elif entry.delay is None and now >= recovered_at(state):
            if (taken := self._take_over(state, entry.foreign)) is None:
                return None
            state = taken
        fence, row = self._queue.take(key, state, crashes)
        record = Record(state, _created(state), NO_EXCHANGE, row, delay=entry.delay)
        return Claim(fence, row, record)

    def _take_over(self, state: State, foreign: bool) -> State | None:
        """Commit the same transition again, as the origin's recovery does, so that other programs leave it alone for a while.

        It counts as another attempt if one died. None if another program was first.
        """
        notes = dict(state.transition.annotations) | ({TRIED: str(tried(state) + 1)} if foreign else {})
        again = Transition(state.transition.to, notes)
        try:
            written = self._writes.commit(Commit(writes=(Write(state._replace(transition=again)),)))
        except RevMismatch:
            self._queue.remove(state.id)
            self._follower.hurry()
            return None
        self._queue.committed(written.states[0])
        return written.states[0]

    def release(self, batch: Sequence[Release], now: int) -> list[bool]:  # noqa: ARG002
        """Rows of this session; no request."""
        self._check_open()
        with self._lock:
            return [self._queue.release(release) for release in batch]

    def beat(self, now: int, dead: Collection[str] = (), mono: float | None = None) -> HeartbeatReply:  # noqa: ARG002
        """The protocol has no owners: nothing is written, and nothing is known of others."""
        self._check_open()
        return HeartbeatReply()

    def load(self, ids: Sequence[str]) -> list[Record | None]:
        """A flowstate server does not know when and by which flow a State was created: a record cannot be given."""
        what = f"runs, which {', '.join(map(repr, ids))} would be (engine.get_state(id) reads a State)"
        raise self._refusal(what)

    def read(self, query: Query) -> Any:
        """Revisions, delays and data from the server; what there cannot be any of is answered so, the rest refused."""
        self._check_open()
        match query:
            case HistoryQuery():
                return self._reads.history(query)
            case DelayQuery():
                return self._reads.delays(query)
            case DataQuery():
                return self._reads.data(query)
            case ScheduleQuery() | PausedFlowsQuery() | PrunedQuery():
                return []
            case JournalQuery():
                return [() for _ in query.ids]
            case NotDueQuery():
                return self._not_due(query)
            case RunQuery(status=("running",), order="id", ascending=True, flow=None, labels=None):
                return self._held(query)
            case RunQuery(status=("running",), flow=host.HOST):
                return []  # a host registers itself as a run
            case _:
                raise self._refusal("lists of runs, counts and owners")

    def _not_due(self, query: NotDueQuery) -> list[int]:
        with self._lock:
            rows = [entry.row for entry in self._queue.entries.values() if entry.row.flow in query.flows]
        later = sum(not row.owner and row.due > query.now and not row.blocked for row in rows)
        return [later, sum(row.blocked != "" for row in rows)]

    def _held(self, query: RunQuery) -> list[Record]:
        """The claims of this session on States, by id."""
        with self._lock:
            entries = self._queue.entries.values()
            held = [_record(entry) for entry in entries if entry.row.owner and entry.delay is None]
        found = sorted((record for record in held if query.is_next(query.key_of(record))), key=query.key_of)
        return found[: query.limit]

    def next_due(self, flows: Mapping[str, str], now: int) -> DueSummary:
        """As far as this session knows, which follows the log if it has flows."""
        self._check_open()
        if not flows:
            return DueSummary(None, 0, {}, self._reads.newest(), self._reads.timeline)
        with self._lock:
            self._follower.look(flows, now)
            first = min((row.due for row in self._queue.ahead(flows)), default=None)
            held = sum(entry.row.owner != "" for entry in self._queue.entries.values())
        owned = {self._owner.id: held} if held else {}
        return DueSummary(first, 0, owned, self._reads.head, self._reads.timeline)

    def post(self, tx: Any, *commits: Commit) -> list[Created | PrunedId | None]:  # noqa: ARG002
        """No transaction of a caller reaches the server."""
        raise StoreError(
            f"tx={tx!r:.100}: a store behind a server has no transactions that a caller could join; leave tx= out"
        )

    def hurry(self, *, ending: bool) -> None:
        self._client.hurry(ending=ending)

    def wait_for_change(self, token: int, timeout_s: float) -> int:
        """The protocol tells of nothing: the newest revision is asked for again and again. The token is that revision."""
        left_s, head = timeout_s, token
        while not self._closed.is_set():
            try:
                head = self._reads.newest()
            except StoreError:
                if self._closed.is_set():  # meanwhile
                    break
                raise
            if head != token:
                self._follower.hurry()
            if head != token or left_s <= 0:
                break
            self._closed.wait(min(POLL_S, left_s))
            left_s -= POLL_S
        return head

    def _refusal(self, what: str) -> StoreError:
        return unsupported(self._client.address, what)


def _created(state: State) -> Created:
    """Enough for an attempt at a flow function, which is at this revision."""
    return Created(state.transition.to, "", state.committed_at)


def _record(entry: Entry) -> Record:
    return Record(entry.state, _created(entry.state), NO_EXCHANGE, entry.row, delay=entry.delay)


class FlowstateMaintenance(Maintenance):
    """There is none: a flowstate server keeps each revision for ever."""

    def __init__(self, client: FlowstateClient) -> None:
        self._address = client.address
        client.close()

    def pruning(self, before: int, limit: int, *, now: int = 0, keep_until: int = 0) -> Iterator[Pruned]:  # noqa: ARG002
        """Raises ReadOnly."""
        raise ReadOnly(f"{self._address} is a flowstate server, which deletes nothing: open the engine with keep=None")

    def check(self) -> list[str]:
        """Raises StoreError: the protocol has no way to look."""
        raise unsupported(self._address, "check of its store")
