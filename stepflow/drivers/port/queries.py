"""What can be asked of a store, and the values that answer: revisions, runs, counts, owners, due times."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from attrs import frozen

from stepflow.model.state import State

MAX_SIZE = 64 << 20  # characters of exchanges in one answer


@frozen
class HistoryQuery:
    """Revisions in ascending order: `since_rev < rev`, optionally of one run; at most `limit`.

    The exchange in the result is the text as of that revision; with `exchange` False it is not read, and empty. `last` asks for the newest `limit` instead of the oldest.
    `labels` are groups: all labels of one group at least must be equal (no groups: everything). `since` asks for
    `committed_at >= since`, `latest_only` for revisions that are the newest of their id, `until_rev` for `rev <= until_rev`.
    The answer ends before the exchanges that its revisions changed have more than `max_size` characters together, but has one revision.
    """

    id: str | None = None
    since_rev: int = 0
    limit: int = 50
    last: bool = False
    labels: tuple[Mapping[str, str], ...] = ()
    since: int = 0
    latest_only: bool = False
    until_rev: int | None = None
    exchange: bool = True
    max_size: int = MAX_SIZE


@frozen
class RunQuery:
    """Runs, the newest created first, filtered: `flow` is the creating flow, `labels` must all be equal.

    `status` is one of the statuses as of `now`. `awaits` asks for runs whose transition waits for an event; it costs nothing for
    the others. `open` asks for runs that have not ended. `after` is the last id of the page before.
    """

    now: int
    flow: str | None = None
    status: str | None = None
    labels: Mapping[str, str] | None = None
    after: str | None = None
    limit: int = 50
    awaits: bool = False
    open: bool = False


@frozen
class TallyQuery:
    """Count the runs by creating flow and status as of `now`."""

    now: int


@frozen
class Tally:
    """So many runs of one creating flow have this status."""

    flow: str
    status: str
    count: int


@frozen
class NotDueQuery:
    """How many sleep or wait at `now`, to go on with one of these flows: rows that are due later, and runs without a row
    that wait for an event (by the flow that created them); and how many rows of these flows are blocked.

    Two numbers; what ended or is due costs nothing.
    """

    flows: tuple[str, ...]
    now: int


@frozen
class EndedQuery:
    """Which of these runs ended or are not there: their ids, in any order; of runs that go on nothing is read but that."""

    ids: tuple[str, ...]


@frozen
class LimitUsageQuery:
    """What stands against the limits of this text (see `stepflow.model.limits`) at `now`; the answer is one LimitUsage."""

    limits: str
    now: int


@frozen
class OwnerQuery:
    """Everybody who may hold runs, as Peers, by id."""


@frozen
class PrunedQuery:
    """Which of these ids are refused because their runs were pruned, as PrunedIds in any order."""

    ids: Collection[str]


@frozen
class Condition:
    """Something that may slow down or endanger a store: what it is, whether it is as it should be, and what was found."""

    what: str
    ok: bool
    found: str


@frozen
class PostConflict:
    """What a caller's transaction committed and could not take place: for which run, what was posted, why, and when it was posted."""

    run_id: str
    posted: str
    reason: str
    at: int


class Revision(NamedTuple):
    """One row of the history: the State as of its rev, and the exchange text as of then."""

    state: State
    exchange: str


@frozen
class DueSummary:
    """What is ahead for a set of flows: enough for an engine to know how long it may sleep.

    `next_due` is the earliest due time of an unowned row that this worker may claim (None: no such row), `suspects` how
    many due rows have two crashes or more, `owned` the rows held, by owner id, `head` the newest revision. `timeline` is another number after the store lost
    revisions that were visible before, as after a failover to a standby that lagged. `schedule` is when the first schedule of the
    namespace is due, whatever its flow.
    """

    next_due: int | None
    suspects: int
    owned: Mapping[str, int]
    head: int
    timeline: int = 0
    schedule: int | None = None
