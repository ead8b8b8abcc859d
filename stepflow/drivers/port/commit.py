"""The values of a store's writes: commits with their parts, releases, claims, records and owners."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal, NamedTuple

from attrs import frozen

from stepflow.drivers.port.delays import DataWrite, Delay
from stepflow.drivers.port.deltas import UNKNOWN, ExchangeParts
from stepflow.drivers.port.journal import JournalRow
from stepflow.drivers.port.pauses import FlowPause, Pause
from stepflow.drivers.port.schedules import ScheduleChange, ScheduleEdit
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

    `exchange` is the exchange's text if it changed, None to keep the last one. A delta (`stepflow.drivers.port.deltas`) may stand
    for it; it builds on the exchange of that revision, as `Record.parts` told. `created` goes with a creation only.
    `labels_before` are the labels of the revision that it replaces, if they are other ones: a store may do without them, but
    a fast path cannot know them. What they are by the store's own tables counts.
    """

    state: State
    exchange: str | None = None
    created: Created | None = None
    labels_before: Mapping[str, str] | None = None


class Fence(NamedTuple):
    """The claim under which a commit is made: the run's queue row must still carry `epoch`."""

    id: str
    epoch: int


SAME_PRIORITY = -(1 << 31)  # of an Enqueue: the one that the run's last row had


class Enqueue(NamedTuple):
    """Give a run a queue row due at `due`, with a new epoch; whatever row it had is replaced.

    `priority` is SAME_PRIORITY, or a new one. The row is unowned, or with `owned` held by the committing session, as if it had claimed it. `limits` is the text of
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
    """A payload for a run, kept until one wait of that name takes it. `id` makes publishing idempotent per run and name.

    `seq` is given by the store and orders the events of a run; 0 before. `traceparent` is the W3C context of the trace that published it, if there is one.
    """

    run_id: str
    name: str
    id: str
    payload: str
    published_at: int
    seq: int = 0
    traceparent: str = ""


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
    """Ask the holder of a run to stop: marks its owned queue row. Without such a row the commit is refused (LostClaim).

    Posted through a caller's transaction it ends a run that no worker holds, as of `at`, microseconds UTC.
    """

    id: str
    at: int = 0


@frozen
class RevOf:
    """The revision that write number `write` (from 0) of the same commit gets."""

    write: int


@frozen
class DataRevOf:
    """The revision that data number `data` (from 0) of the same commit gets."""

    data: int


@frozen
class StackedOf:
    """The text of a stacked State (`stepflow.model.stacked`) with these placeholders of its own filled in."""

    placeholders: tuple[Placeholder, ...]


@frozen
class Placeholder:
    """A place that gets `value` when the store knows the numbers of the commit; what stands there until then does not matter.

    In a commit, `part` and `of` name the State of a write or of a delay by its number. In a stacked State they name its
    committed revision, the present one, or the data of an alias. `annotation` is the annotation of that State which gets the value
    as text; None is its revision itself (with the time of the commit), or the revision of the data.
    """

    part: Literal["write", "delay", "committed", "current", "data"]
    of: int | str
    annotation: str | None
    value: RevOf | DataRevOf | StackedOf


class Commit(NamedTuple):
    """An atomic set of changes: all of it is applied or nothing.

    Applied in the order of the fields. `consume` are the seqs of events of the fenced run that this commit uses up.
    `unowned` lists runs whose queue row, if any, must have no owner. `publish` stores events (one that is already there is
    ignored; a new one for a completed or cancelled run is refused) and makes a run that waits for that name due now. `placeholders` refer to numbers that the commit gets itself:
    the store fills them in (`stepflow.drivers.port.placeholders`), so that a State can hold the revision of another one.
    `forget` deletes journal rows of the fenced run, or, without a fence, of the only `unowned` one: a name that ends in ':' those whose keys begin with it, '' all, another one
    the row of that key. `journal` are rows of that run to be written; each replaces the one of its key. `schedule` changes a
    schedule of that version; with another one the commit is refused (RevMismatch with the schedule's id). `pause` pauses runs or
    lets them go on, `flow_pause` does that to a flow. `edit` changes a schedule of any version, as it is when the commit is applied: it
    goes only with what is posted through a caller's transaction, and so do `same`, other forms of the digest of the input by which the run
    that exists already may be known. With `despite_pause` the claim of the fenced run is kept although the run is paused: its holder begins
    nothing more, but waits for what it has begun.
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
    placeholders: tuple[Placeholder, ...] = ()
    dedup: DedupKey | None = None
    forget: tuple[str, ...] = ()
    journal: tuple[JournalRow, ...] = ()
    schedule: ScheduleChange | None = None
    pause: tuple[Pause, ...] = ()
    flow_pause: FlowPause | None = None
    edit: ScheduleEdit | None = None
    same: tuple[str, ...] = ()
    despite_pause: bool = False


class Committed(NamedTuple):
    """The answer to a Commit that was applied, each in the order of what it answers.

    `revs` of the writes, `data_revs` of the data, `offsets` of the delays, `epochs` of the enqueues that are `owned`;
    `committed_at` is the time of the commit (microseconds UTC).
    """

    revs: tuple[int, ...] = ()
    data_revs: tuple[int, ...] = ()
    offsets: tuple[int, ...] = ()
    epochs: tuple[int, ...] = ()
    committed_at: int = 0


StepCommitted = tuple[int, ...]
"""The answer to a Step that was applied: its revision and the time of the commit (microseconds UTC), then the epoch of its
queue row if that is `owned`. A plain tuple, as a Committed costs 0.6 us more, of the 15 us that a step takes."""

CommitResult = Committed | StepCommitted | StepflowError
"""Committed for a Commit, and for a Step either that or the shorter StepCommitted; or RevMismatch, LostClaim, Duplicate, NotFound, TooLarge, …: nothing was
applied."""


class Release(NamedTuple):
    """Give a claim back. `due` is when it may be claimed again, None: the queue row goes away.

    With `events`, a pending event of one of these names makes it due now instead. `blocked` and `blocked_by` say why a worker of
    that definition hash cannot go on with it. `crashes` and `unfinished` None keep the counts.
    """

    fence: Fence
    due: int | None
    events: tuple[str, ...] = ()
    blocked: str = ""
    blocked_by: str = ""
    crashes: int | None = None
    unfinished: int | None = None


class Record(NamedTuple):
    """What an attempt needs of a run: its State, creation, exchange text, queue row and unconsumed events by seq.

    Loaded by the key of a delay: `delay` is set and `state` is its snapshot. `journaled` tells whether there are journal rows,
    which a JournalQuery reads. `parts` tells what a large exchange is stored as, so that the next one can be a delta.
    """

    state: State
    created: Created
    exchange: str
    row: QueueRow | None
    events: tuple[Event, ...] = ()
    delay: Delay | None = None
    journaled: bool = False
    parts: ExchangeParts = UNKNOWN


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

    `flows` are the names of the flows that it claims, sorted; as of its last beat, which was at `beat_at`, microseconds UTC, 0 if unknown.
    """

    id: str
    host: str
    pid: int
    beat: int = 0
    flows: tuple[str, ...] = ()
    beat_at: int = 0


def flows_of(stored: str) -> tuple[str, ...]:
    """The flows of an owner from the stored JSON list; none if that cannot be read."""
    try:
        found = json.loads(stored)
    except (ValueError, TypeError, RecursionError):
        return ()
    return tuple(one for one in found if isinstance(one, str)) if isinstance(found, list) else ()


@frozen
class Peer:
    """Another owner and what the store can tell of it: `lock` is `free` when it surely died, `held`, or `unknown`."""

    owner: Owner
    lock: Literal["free", "held", "unknown"] = "unknown"


@frozen
class HeartbeatReply:
    """The answer to a beat: the other owners, and those of the own runs that are to be cancelled.

    `reclaimed` is true once after others took this owner, which lives, for dead: its claims from before are lost, and the
    crashes that were counted for it are taken back. A store in which that cannot happen never says so. `time` is the store's
    time, as `Store.time` gives it. `rest_s` is how many seconds an engine that holds nothing may let pass until its next beat: no
    other owner holds anything either, and the store tells of changes. More than 4 s count as 4: an engine that has not beaten for
    5 s claims nothing. None: others may hold runs, or the store does not know.
    """

    peers: tuple[Peer, ...] = ()
    cancels: tuple[str, ...] = ()
    reclaimed: bool = False
    time: int | None = None
    rest_s: float | None = None
