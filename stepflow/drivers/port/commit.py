"""The values of a store's writes: commits with their parts, releases, claims, records and owners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from attrs import frozen

from stepflow.drivers.port.delays import DataWrite, Delay
from stepflow.errors import StepflowError
from stepflow.model.lifecycle import QueueRow
from stepflow.model.state import State


class Created(NamedTuple):
    """What is fixed when a run is created: its flow, the digest of its input, and when (microseconds UTC)."""

    flow: str
    input_hash: str
    created_at: int


class Write(NamedTuple):
    """One revision to be made. `state.rev` is the revision it replaces, 0 if the id must not exist yet.

    `exchange` is the exchange's text if it changed, None to keep the last one. `born` goes with a creation only.
    """

    state: State
    exchange: str | None = None
    created: Created | None = None


class Fence(NamedTuple):
    """The claim under which a commit is made: the run's queue row must still carry `epoch`."""

    id: str
    epoch: int


class Enqueue(NamedTuple):
    """Give a run a queue row due at `due`, with a new epoch; whatever row it had is replaced.

    The row is unowned, or with `owned` held by the committing session, as if it had claimed it. `limits` is the text of
    the limits of a run that is created here; later rows of the run have what still holds of it.
    """

    id: str
    flow: str
    due: int
    priority: int = 0
    owned: bool = False
    limits: str = ""


class Dequeue(NamedTuple):
    """Take a queue row away: the run ended, was parked, or waits for an event without a time limit.

    With the key of a delay: the delay is over.
    """

    id: str


@frozen
class Event:
    """A payload for a run, kept until one wait of that name takes it. `id` makes publishing idempotent per run.

    `seq` is given by the store and orders the events of a run; 0 before.
    """

    run_id: str
    name: str
    id: str
    payload: str
    published_at: int
    seq: int = 0


@frozen
class DedupKey:
    """Let one commit of this `key` happen until `until` (microseconds UTC): the one that made the run `run_id`.

    While that run is there, later ones are refused (Duplicate).
    """

    key: str
    run_id: str
    until: int


@frozen
class Cancel:
    """Ask the holder of a run to stop: marks its owned queue row. Without such a row the commit is refused (LostClaim)."""

    id: str


class Commit(NamedTuple):
    """An atomic set of changes: all of it is applied or nothing.

    Applied in the order of the fields. `consume` are the seqs of events of the fenced run that this commit uses up.
    `unowned` lists runs whose queue row, if any, must have no owner. `publish` stores events (one that is already there is
    ignored) and makes a run that waits for that name due now.

    `resolve`, if given, is called by the store inside the transaction with the revisions that the writes will get and the
    revisions that the data will get, and `now`; the Commit that it returns (same ids, same numbers of writes and data) is applied
    instead. So a State can hold the revision of another one of the same commit. It is pure and may be called again; a StepflowError
    that it raises is the answer to this commit.
    """

    fence: Fence | None = None
    unowned: tuple[str, ...] = ()
    writes: tuple[Write, ...] = ()
    consume: tuple[int, ...] = ()
    queue: tuple[Enqueue | Dequeue, ...] = ()
    publish: tuple[Event, ...] = ()
    cancel: tuple[Cancel, ...] = ()
    delays: tuple[Delay, ...] = ()
    data: tuple[DataWrite, ...] = ()
    resolve: Callable[[tuple[int, ...], tuple[int, ...], int], Commit] | None = None
    dedup: DedupKey | None = None


CommitResult = tuple[int, ...] | StepflowError
"""The new revisions, one per write in order, then the revisions of the data, the offsets of the delays, and the epochs of
the enqueues that are `owned`; or RevMismatch, LostClaim, Duplicate, NotFound, TooLarge, …: nothing was applied."""


class Release(NamedTuple):
    """Give a claim back. `due` is when it may be claimed again, None: the queue row goes away.

    With `event`, a pending event of that name makes it due now instead. `blocked` and `blocked_by` say why a worker of
    that definition hash cannot go on with it. `crashes` None keeps the count.
    """

    fence: Fence
    due: int | None
    event: str = ""
    blocked: str = ""
    blocked_by: str = ""
    crashes: int | None = None


class Record(NamedTuple):
    """All that the store keeps of a run: its State, creation, exchange text, queue row and unconsumed events by seq.

    Loaded by the key of a delay: `delay` is set and `state` is its snapshot.
    """

    state: State
    created: Created
    exchange: str
    row: QueueRow | None
    events: tuple[Event, ...] = ()
    delay: Delay | None = None


class Claim(NamedTuple):
    """The right to advance a run: `fence` goes into every commit, `row` is as claimed, `record` as `load` would give it.

    Without a record it has to be loaded.
    """

    fence: Fence
    row: QueueRow
    record: Record | None = None


@frozen
class Owner:
    """One open engine, as others see it: `beat` changes while it lives, `host` and `pid` tell where.

    `flows` are the names of the flows that it claims, sorted; as of its last beat.
    """

    id: str
    host: str
    pid: int
    beat: int = 0
    flows: tuple[str, ...] = ()


@frozen
class Peer:
    """Another owner and what the store can tell of it: `lock` is `free` when it surely died, `held`, or `unknown`."""

    owner: Owner
    lock: Literal["free", "held", "unknown"] = "unknown"


@frozen
class HeartbeatReply:
    """The answer to a beat: the other owners, and those of the own runs that somebody asked to cancel."""

    peers: tuple[Peer, ...] = ()
    cancels: tuple[str, ...] = ()
