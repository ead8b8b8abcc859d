"""What can be asked of a store, and the values that answer: revisions, runs, counts, owners, due times."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from attrs import field, frozen

from stepflow.drivers.port.commit import Record
from stepflow.model.lifecycle import OPEN, stored_statuses
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
class HistoriesQuery:
    """The newest revisions of several runs, at most `limit` of each, without exchanges.

    The answer is a tuple of States for each of `ids`, in that order, ascending by rev; an empty one where there is no such run.
    """

    ids: tuple[str, ...]
    limit: int


ListKey = tuple[int, str]
"""Where a run stands in a list: when it was created, or when it is due (0 in a list by id), and its id."""


def _several(status: str | Iterable[str] | None) -> tuple[str, ...] | None:
    return (status,) if isinstance(status, str) else None if status is None else tuple(sorted(set(status)))


@frozen
class RunQuery:
    """Runs, filtered, in the order of `order` and id, the last first unless `ascending`; the answer is a RunList.

    `flow` is the creating flow, `labels` must all be equal. `status` is one or several of the statuses as of `now`. `awaits` asks
    for runs whose transition waits for an event; it costs nothing for the others. `open` asks for runs that have not ended, `prefix`
    for ids that begin with it, `since` and `until` for `since <= created_at < until`, the other two for the same of the last commit.
    `order` is by `created` (the time of creation), by `id`, or by `due`: that of runs which no worker holds and which are due later than `now`.
    `after` is the key of the last run of the page before, which need not be there any more. Of the runs that come next in each
    index that is read, at most about `scan` are looked at (None: all of them): where that many do not make a page, it ends earlier.
    `ids` asks for these runs in any order; everything else is ignored then.
    """

    now: int
    flow: str | None = None
    status: tuple[str, ...] | None = field(default=None, converter=_several)
    labels: Mapping[str, str] | None = None
    after: ListKey | None = None
    limit: int = 50
    awaits: bool = False
    open: bool = False
    order: Literal["created", "id", "due"] = "created"
    ascending: bool = False
    prefix: str = ""
    since: int | None = None
    until: int | None = None
    changed_since: int | None = None
    changed_until: int | None = None
    scan: int | None = None
    ids: tuple[str, ...] | None = None

    @property
    def groups(self) -> tuple[str, ...]:
        """The final statuses that the wanted runs may have, and '' for those that have not ended."""
        groups = stored_statuses(self.status)
        only_open = self.awaits or self.open or self.order == "due"
        return tuple(group for group in groups if not group) if only_open else groups

    @property
    def live(self) -> tuple[str, ...]:
        """The statuses that a run which has not ended must have, empty if any will do."""
        given = () if self.status is None else self.status
        wanted = tuple(one for one in given if one in OPEN)
        return () if len(wanted) == len(OPEN) else wanted

    @property
    def bounds(self) -> tuple[int | None, int | None]:
        """`since` and `until`, without the one that the key `after` makes superfluous in a list by creation."""
        if self.after is None or self.order != "created":
            return self.since, self.until
        return (None, self.until) if self.ascending else (self.since, None)

    @property
    def looks(self) -> Iterator[int]:
        """How many runs of an index to look at in each try for a page: few first, as most pages need no more; `scan` in the last one."""
        few = 8 * self.limit
        while self.scan is None or few < self.scan:
            yield few
            few *= 8
        if self.scan is not None:
            yield self.scan

    def has_ranges(self, state: State, created_at: int) -> bool:
        """Whether a run has the prefix, and was created and changed in the ranges."""
        return (
            state.id.startswith(self.prefix)
            and in_range(created_at, self.since, self.until)
            and in_range(state.committed_at, self.changed_since, self.changed_until)
        )

    def is_next(self, key: ListKey) -> bool:
        """Whether a key comes after the page before."""
        return self.after is None or (key > self.after if self.ascending else key < self.after)

    def key_of(self, record: Record) -> ListKey:
        """The key of a run in this list."""
        if self.order == "id":
            return 0, record.state.id
        due = record.row.due if self.order == "due" and record.row is not None else record.created.created_at
        return due, record.state.id


class RunList(list[Record]):
    """The runs of a page; `end` is the key at which reading ended because `scan` runs had been looked at, else None."""

    def __init__(self, runs: Iterable[Record] = (), end: ListKey | None = None) -> None:
        super().__init__(runs)
        self.end = end


def in_range(at: int, since: int | None, until: int | None) -> bool:
    """Whether `since <= at < until`; None: no bound."""
    return (since is None or at >= since) and (until is None or at < until)


def behind_prefix(prefix: str) -> str | None:
    """The first text that sorts after all texts with this prefix, by code points; None if there is none."""
    kept = prefix.rstrip("\U0010ffff")
    if not kept:
        return None
    following = ord(kept[-1]) + 1
    return kept[:-1] + chr(0xE000 if following == 0xD800 else following)


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
    """What a caller's transaction committed and could not take place: for which run, what was posted, why, and when it was posted.

    Of a change of a schedule, `run_id` is the id of that.
    """

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
    many due rows have two crashes or more, `owned` the rows held, by owner id (a store where counting them costs too much
    names all other owners that may hold one, with 1 each), `head` the newest revision. `timeline` is another number after the store lost
    revisions that were visible before, as after a failover to a standby that lagged. `schedule` is when the first schedule of the
    namespace is due, whatever its flow. `trusted_s` is for how many seconds all this holds where no change is reported.
    """

    next_due: int | None
    suspects: int
    owned: Mapping[str, int]
    head: int
    timeline: int = 0
    schedule: int | None = None
    trusted_s: float = 1.0
