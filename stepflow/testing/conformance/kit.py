"""Helpers to write laws with: sessions, commits by name (creation, step, publish), and the record of a run."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

from stepflow.drivers.port.commit import (
    Claim,
    Commit,
    CommitResult,
    Committed,
    Created,
    Dequeue,
    Enqueue,
    Event,
    Fence,
    Owner,
    Record,
    StepCommitted,
    Write,
)
from stepflow.drivers.port.journal import JournalQuery, JournalRow
from stepflow.drivers.port.step import Append, Member, step_numbers, step_of
from stepflow.drivers.port.store import Driver, Store
from stepflow.errors import StepflowError
from stepflow.model.state import EMPTY, POSITION, STATUS, WAITING, State, Transition, wait_notes

FLOW = "order"
FLOWS: Mapping[str, str] = {FLOW: "d1"}
NOW = 1_000_000


class Sessions:
    """Opens sessions on a driver, each with its own owner, and closes them at the end."""

    def __init__(self, driver: Driver, prefix: str = "owner") -> None:
        self.driver = driver
        self._numbers = count(1)
        self._prefix = prefix
        self._open: list[Store] = []

    def session(self, namespace: str = "", owner: str = "") -> Store:
        """A new session; `owner` is its id."""
        name = owner or f"{self._prefix}-{next(self._numbers)}"
        store = self.driver.connect(namespace, Owner(name, "host", 1), NOW)
        self._open.append(store)
        return store

    def close(self) -> None:
        """Close every session that was opened here."""
        while self._open:
            self._open.pop().close()


def going(step: str = "start") -> Transition:
    """A transition of a run that has not ended."""
    return Transition(FLOW, {POSITION: f'["{step}"]'})


def awaiting(*events: str) -> Transition:
    """A transition of a run that waits for the first of these events."""
    return Transition(FLOW, {POSITION: '["wait"]', **wait_notes(events)})


def polling() -> Transition:
    """A transition of a run that waits for a condition, which is called again and again."""
    return Transition(FLOW, {POSITION: '["poll"]', WAITING: "poll"})


def ended(status: str = "completed") -> Transition:
    """A transition of a run that ended."""
    return Transition("", {POSITION: '["end"]', STATUS: status})


def creation(
    run_id: str,
    *,
    due: int | None = NOW,
    exchange: str | None = "{}",
    labels: Mapping[str, str] = EMPTY,
    annotations: Mapping[str, str] = EMPTY,
    transition: Transition | None = None,
    flow: str = FLOW,
    priority: int = 0,
    created_at: int = NOW,
    limits: str = "",
) -> Commit:
    """The commit that creates a run; with `due` None it gets no queue row."""
    state = State(run_id, 0, transition or going(), labels, annotations)
    queue = () if due is None else (Enqueue(run_id, flow, due, priority, limits=limits),)
    return Commit(writes=(Write(state, exchange, Created(flow, "hash", created_at)),), queue=queue)


def step(
    claim: Claim | Fence,
    rev: int,
    transition: Transition | None = None,
    exchange: str | None = None,
    *,
    labels: Mapping[str, str] = EMPTY,
    end: bool = False,
) -> Commit:
    """The commit of one step of a claimed run; with `end` its queue row goes away."""
    fence = claim.fence if isinstance(claim, Claim) else claim
    state = State(fence.id, rev, transition or going("next"), labels)
    return Commit(fence, writes=(Write(state, exchange),), queue=(Dequeue(fence.id),) if end else ())


def as_member(commit: Commit) -> Member:
    """The same commit, as a Step or an Append if it is one."""
    if commit.fence is not None and commit.journal:
        append = Append(*commit.fence, commit.journal, commit.consume)
        return append if append.commit() == commit else commit
    return step_of(commit) or commit


def journal(store: Store, run_id: str) -> list[JournalRow]:
    """The journal rows of a run, without the numbers that the store gave."""
    ((*rows,),) = store.read(JournalQuery((run_id,)))
    assert [row.seq for row in rows] == sorted({row.seq for row in rows})
    return [row._replace(seq=0, epoch=0, at=0) for row in rows]


def write(run_id: str, rev: int, transition: Transition | None = None, exchange: str | None = None) -> Commit:
    """A write without a fence."""
    return Commit(writes=(Write(State(run_id, rev, transition or going("moved")), exchange),))


def publish(run_id: str, name: str, event_id: str, payload: str = "1") -> Commit:
    """The commit that publishes an event."""
    return Commit(publish=(Event(run_id, name, event_id, payload, NOW),))


def make(store: Store, *commits: Member, now: int = NOW) -> list[int]:
    """Apply commits of which none may be refused; the last revision of each, 0 if it made none."""
    results = store.commit(commits, now)
    for result in results:
        if isinstance(result, Exception):
            raise result
    return [made[-1] if (made := revisions(result)) else 0 for result in results]


def revisions(result: CommitResult) -> tuple[int, ...]:
    """The new revisions of an answer; none if it is a refusal."""
    if isinstance(result, Committed):
        return result.revs
    return () if isinstance(result, StepflowError) else result[:1]


def answered(result: CommitResult) -> StepCommitted:
    """The answer to a step, which may be that of its Commit; nothing if it is a refusal."""
    return () if isinstance(result, StepflowError) else step_numbers(result)


def numbers(store: Store, commit: Commit, now: int = NOW) -> tuple[int, ...]:
    """The numbers that a commit gets which may not be refused: of its writes, data, delays and owned rows."""
    done = committed(store, commit, now)
    return (*done.revs, *done.data_revs, *done.offsets, *done.epochs)


def committed(store: Store, commit: Commit, now: int = NOW) -> Committed:
    """The answer to a commit that may not be refused."""
    (result,) = store.commit([commit], now)
    if isinstance(result, Exception):
        raise result
    assert isinstance(result, Committed)
    return result


def refused(store: Store, commit: Commit) -> StepflowError:
    """The answer to a commit that must be refused."""
    (result,) = store.commit([commit], NOW)
    assert isinstance(result, StepflowError), result
    return result


def claim(store: Store, limit: int = 100, now: int = NOW, *, suspects: bool = False) -> dict[str, Claim]:
    """Claim runs of the usual flow, by id."""
    return {found.fence.id: found for found in store.claim(FLOWS, now, limit, suspects=suspects)}


def as_loaded(store: Store, claims: list[Claim]) -> list[Claim]:
    """The claims, after a check that each record they carry equals that of `load`; while no other session writes."""
    for found, loaded in zip(claims, store.load([found.fence.id for found in claims]), strict=True):
        assert found.record in (None, loaded), (found.record, loaded)
    return claims


def record(store: Store, run_id: str) -> Record:
    """The record of a run that exists."""
    (found,) = store.load([run_id])
    if found is None:
        raise AssertionError(f"there is no run {run_id!r}")
    return found


def begun(store: Store, run_id: str) -> tuple[Claim, int]:
    """Create a run and claim it: the claim and the run's revision."""
    make(store, creation(run_id))
    found = claim(store)[run_id]
    return found, found.row.claim_rev
