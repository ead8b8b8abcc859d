"""The port: what an engine needs of a store, as twenty-seven numbered laws that every driver obeys.

A `Driver` names a store and opens `Store` sessions on it, one per engine. All calls are synchronous and thread-safe;
an engine sends its writes from one thread at a time, but for `commit_if_free` and `claim_if_free`, and may read from others meanwhile. No
method reads a clock: `now` is integer microseconds UTC. Batches are lists, so that one call can be one round trip.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, overload

from stepflow.drivers.port.background import Guard
from stepflow.drivers.port.commit import (
    Claim,
    Commit,
    CommitResult,
    Created,
    HeartbeatReply,
    Owner,
    Peer,
    Record,
    Release,
)
from stepflow.drivers.port.delays import DataQuery, Delay, DelayQuery, StoredData
from stepflow.drivers.port.journal import JournalQuery, JournalRow
from stepflow.drivers.port.notes import ChangeNote, EndNote, NotePage
from stepflow.drivers.port.pauses import PausedFlowRow, PausedFlowsQuery
from stepflow.drivers.port.pruning import Pruned, PrunedId
from stepflow.drivers.port.queries import (
    Condition,
    DueSummary,
    EndedQuery,
    HistoriesQuery,
    HistoryQuery,
    LimitUsageQuery,
    NotDueQuery,
    OwnerQuery,
    PostConflict,
    PrunedQuery,
    Revision,
    RunQuery,
    Tally,
    TallyQuery,
)
from stepflow.drivers.port.schedules import ScheduleQuery, ScheduleRow
from stepflow.drivers.port.step import Member
from stepflow.drivers.port.user_transaction import Transactions, UserTransaction
from stepflow.errors import StoreError
from stepflow.model.codec import UNOPENED, Unopened
from stepflow.model.limits import LimitUsage
from stepflow.model.state import State

TableQuery = (
    HistoryQuery
    | HistoriesQuery
    | RunQuery
    | TallyQuery
    | NotDueQuery
    | EndedQuery
    | DelayQuery
    | DataQuery
    | LimitUsageQuery
    | JournalQuery
    | PrunedQuery
    | ScheduleQuery
    | PausedFlowsQuery
)
Query = TableQuery | OwnerQuery
Answer = (
    list[Revision]
    | list[tuple[State, ...]]
    | list[Record]
    | list[Tally]
    | list[int]
    | list[str]
    | list[Delay]
    | list[StoredData]
    | list[LimitUsage]
    | list[tuple[JournalRow, ...]]
    | list[Peer]
    | list[PrunedId]
    | list[ScheduleRow]
    | list[PausedFlowRow]
)


class Store(ABC):
    """One engine's session on a store; every method may raise a StoreError, and then nothing was changed.

    Laws (`stepflow.testing` checks each, by number):

    1. *Atomic.* A commit applies whole or not at all; its revisions become visible together. One that is refused
       changes nothing and does not disturb the other members of its batch.
    2. *Optimistic.* A write applies only if the id's newest revision is `state.rev` (0: no such id); else RevMismatch
       with all ids of that commit that do not match.
    3. *Revisions* are store-wide, start at 1 or later, and strictly increase in commit order, also over restarts and
       pruning; no two States share one. Which member of a batch gets which is free.
    4. *Fenced.* A commit or release with a fence applies only while the queue row exists and has that epoch; else
       LostClaim. While the row has a cancel mark, a commit of its holder that ends the run otherwise than as cancelled is
       refused (CancelRequested), unless its time limit ends it (`stepflow.timed_out`). Every claim, enqueue and death gives a new epoch from one store-wide counter.
    5. *Claims* are exclusive: a due, unowned row of a registered flow is given to one owner. The runs of one flow are taken
       by priority (low first), due, id. Flows take turns in the order of `flows`, one run at a time, after all runs with a
       priority below 0, which go by priority, due, id (`stepflow.drivers.port.turns`). A flow without a run that may be taken
       misses no turn of the others. `claim_rev` is the State's rev then. A row blocked by the claimer's own definition is left alone.
    6. *Crashes.* When an owner is released as dead, each of its rows becomes unowned and due now; `crashes` grows by one
       if the claim made no progress, else it becomes 0. Progress is that the State's rev is not `claim_rev` any more, or that
       a journal row carries the claim's epoch. `unfinished` grows by one as well, but becomes 1 if the rev has moved, or if such a row
       is of another kind than `once`: then another step had begun. A row that is enqueued has neither count.
    7. *Events* are stored once per (run, name, id), delivered in order of seq, and vanish only in the commit that consumes them.
       A new one for a completed or cancelled run is refused (RunEnded); a failed run keeps it for its redrive.
       A publish never gets lost between a look for events and a release: the release itself looks again.
    8. *Durable.* What commit, release or publish acknowledged is there after a crash of the process.
    9. *Exact.* Labels, annotations, payloads and exchanges come back as they were given, whatever characters they hold. An
        exchange that was given as a delta (`stepflow.drivers.port.deltas`) comes back whole.
    10. *Isolated.* A session sees only its namespace; revisions and epochs may be shared between namespaces.
    11. *History* keeps every revision until it is pruned, and each State's newest one always.
    12. *Inbox.* What was posted through a caller's transaction happens if that transaction commits, and only then; every
        later claim and load sees it. A posted creation of a run that exists by then as it would be made changes nothing, nor does a
        cancel of a cancelled one. An edit changes a schedule as it is by then. What is refused otherwise is logged and kept as a conflict, which the maintenance port lists.
    13. *Delays* are part of their commit's atom. Each has a queue row of its own under `delay_key`, claimed, fenced, freed
        and released like a run's; `load` by that key gives the snapshot. A Dequeue of the key marks it fired; fired ones stay listed. Offsets are dense from 1.
    14. *Data* is part of its commit's atom, never changes, and comes back byte for byte; revisions are dense from 1.
    15. *Queries* of revisions are exact: groups of labels, since, latest_only (the newest of the id, whatever its labels)
        and limit combine; ascending by rev; a label value is compared whole. So are counts,
        and lists of runs in each of their orders, page by page, also when a page ends early because enough runs were looked at. A list by due
        time may leave out a run of which a session has seen that it is due.
    16. *Limits.* A claim takes a run only if `stepflow.model.limits.admission` says so, given the runs that are held then and the
        begins of the keys' periods; one that is refused stays due and keeps no run of other limits back. A run begins
        with its first claim. However many sessions claim at once, no limit is exceeded.
    17. *Deduplication.* A commit with `dedup` is refused (Duplicate) while another one of that key holds: until its time, while its run
        is there. A commit that is refused for another reason does not count.
    18. *Free.* `commit_if_free` and `claim_if_free` do what `commit` and `claim` do, or answer None: then nothing was done, and soon, whatever the
        other writers of the store are at.
    19. *Owners.* A session that has beaten or claimed is shown until it is closed or reclaimed; after a beat, with the names of
        all flows that it has claimed for, and with the time of the beat: the store's, or `now` if it has none.
    20. *Shapes.* A Step or an Append is answered as the Commit that it stands for (`stepflow.drivers.port.step.whole`).
    21. *Journal.* Rows are part of their commit's atom, need its fence or the only run of `unowned`, and make no revision. They come back as they were given,
        by seq, with the time of the commit unless they had one; a row of a key that is there replaces it and keeps its seq. What a commit forgets is gone before its own rows are
        written. `Record.journaled` tells whether there are rows; those of a delay's key go when it fires.
    22. *Pruning* (`Maintenance.pruning`) goes in pieces, each a transaction of bounded rows and bytes; other sessions write between
        two of them. From its first piece on a run is gone for loads, lists, counts and its history. Its id is refused (RevMismatch,
        `PrunedQuery` tells) while records of it are left, which the next pruning deletes first, and until `keep_until`.
    23. *Children.* A write that ends a run with the label `stepflow.parent` (`stepflow.model.family`) publishes that to the run which the
        label names, in the same atom and whatever commit it is part of; not if that run is completed, cancelled or not there.
    24. *Schedules.* A change of a schedule is part of its commit's atom. It applies only to the version that it names (0: none is
        there), else RevMismatch with the schedule's id. Each change gives another version, never one that a deleted schedule
        of that id had. `next_due` tells the earliest due time of all schedules of the namespace.
    25. *Together.* What a function writes through the connection of a `UserTransaction` and the member that is committed with it are
        durable both or neither: a refused member, a lost claim too, takes the function's writes back. Until then neither is
        visible, and after that the connection is refused. A function cannot end the transaction unnoticed.
    26. *Pauses.* A run that was paused, and a run whose queue row is of a paused flow, is not claimed until it, or the flow, is resumed.
        While a run has the mark, a commit that keeps the claim on it, but for one with `despite_pause`, or takes it by an owned Enqueue, is
        refused (PauseRequested). Due times stay; an event is stored and wakes nothing; the resume makes a run due whose awaited event is there. The mark survives releases, the
        ends of owners and commits of others; it goes with the end of the run, and with a cancel. A claim looks at few rows for it.
    27. *Run timeouts.* A write that makes a run with the label `stepflow.run_ends` (`stepflow.model.run_timeout`), or one without a fence that
        leaves it open, makes or replaces, in the same atom, the row `run_end_id` (`stepflow.drivers.port.schedules`) among the schedules, due then.
        A write that ends the run, or carries out a cancel, deletes it. Such rows are in no list of schedules by id.
    """

    guards: Sequence[Guard] = ()
    """The guards of the session's own background threads, for `engine.health()`."""

    takes_deltas: bool = True
    """Whether the exchange of a Write may be a delta (`stepflow.drivers.port.deltas`). A store that changes texts before it keeps them
    says no: it could not restore one."""

    def same_input(self, stored: str, digest: str) -> bool:
        """Whether the stored `Created.input_hash` is that of an input with this digest; Unopened if it was sealed with a key."""
        if ":" in stored:
            raise Unopened(f"the input of the run cannot be compared: {UNOPENED}")
        return stored == digest

    @abstractmethod
    def close(self, keep: bool = False) -> None:
        """End the session: its claims become unowned and due now (without a crash), its owner row goes away.

        With `keep` only what this process has open ends, as if it had died: the claims stay with their owner, who goes on with them in
        another session.
        """

    @abstractmethod
    def commit(self, batch: Sequence[Member], now: int) -> list[CommitResult]:
        """Apply the commits, which have no State id in common, and answer each (laws 1-4, 7-9, 17, 20, 21, 23, 24, 27)."""

    def commit_if_free(self, batch: Sequence[Member], now: int) -> list[CommitResult] | None:  # noqa: ARG002
        """`commit` if that has to wait neither for another writer nor for a network, else None (law 18).

        The event loop itself calls this, so that a commit that is quick need not change threads twice.
        """
        return None

    @abstractmethod
    def claim(
        self, flows: Mapping[str, str], now: int, limit: int, *, suspects: bool = False, skip: Collection[str] = ()
    ) -> list[Claim]:
        """Take up to `limit` due runs of `flows` (name -> definition hash) except ids in `skip` (laws 4, 5, 16).

        With `suspects` only rows with two crashes or more, otherwise only the others.
        """

    def claim_if_free(
        self,
        flows: Mapping[str, str],  # noqa: ARG002
        now: int,  # noqa: ARG002
        limit: int,  # noqa: ARG002
        *,
        suspects: bool = False,  # noqa: ARG002
        skip: Collection[str] = (),  # noqa: ARG002
    ) -> list[Claim] | None:
        """`claim` if that has to wait neither for another writer nor for a network, else None (law 18)."""
        return None

    @abstractmethod
    def release(self, batch: Sequence[Release], now: int) -> list[bool]:
        """Give claims back; False where the claim had been lost already (laws 4, 7)."""

    @abstractmethod
    def beat(self, now: int, dead: Collection[str] = (), mono: float | None = None) -> HeartbeatReply:
        """Show that this owner lives, release the rows of owners judged `dead`, tell of the others (law 6).

        `mono` is the caller's monotonic time in seconds. A store in which a free lock alone proves no death measures with it
        how long a beat stood still; without it such a store answers `unknown`.
        """

    def time(self) -> int | None:
        """The store's own time, microseconds UTC, which engines on several hosts then go by; None: that of each host."""
        return None

    @abstractmethod
    def load(self, ids: Sequence[str]) -> list[Record | None]:
        """The full records in the order of `ids`; None where there is no such run."""

    @overload
    def read(self, query: HistoryQuery) -> list[Revision]: ...
    @overload
    def read(self, query: HistoriesQuery) -> list[tuple[State, ...]]: ...
    @overload
    def read(self, query: RunQuery) -> list[Record]: ...
    @overload
    def read(self, query: TallyQuery) -> list[Tally]: ...
    @overload
    def read(self, query: NotDueQuery) -> list[int]: ...
    @overload
    def read(self, query: EndedQuery) -> list[str]: ...
    @overload
    def read(self, query: DelayQuery) -> list[Delay]: ...
    @overload
    def read(self, query: DataQuery) -> list[StoredData]: ...
    @overload
    def read(self, query: LimitUsageQuery) -> list[LimitUsage]: ...
    @overload
    def read(self, query: JournalQuery) -> list[tuple[JournalRow, ...]]: ...
    @overload
    def read(self, query: OwnerQuery) -> list[Peer]: ...
    @overload
    def read(self, query: PrunedQuery) -> list[PrunedId]: ...
    @overload
    def read(self, query: ScheduleQuery) -> list[ScheduleRow]: ...
    @overload
    def read(self, query: PausedFlowsQuery) -> list[PausedFlowRow]: ...
    @abstractmethod
    def read(self, query: Query) -> Answer:
        """Answer a query (laws 11, 13-16, 19, 21, 24); the records of a RunQuery have `exchange` and `events` left empty."""

    @abstractmethod
    def next_due(self, flows: Mapping[str, str], now: int) -> DueSummary:
        """What is due when; costs the same however many runs sleep, wait or ended."""

    @abstractmethod
    def post(self, tx: Any, *commits: Commit) -> list[Created | PrunedId | None]:
        """Put creations, publishes, cancels or edits of schedules into the inbox through `tx`, the caller's own open transaction on this store (law 12).

        A run of that id that exists as of `tx`, or that an earlier call has posted, is left alone; the answer is how it was created, else None; a PrunedId
        if the id is refused because its run was pruned. Raises StoreError before any of them is written for a `tx` that
        cannot carry all of them: of another store or kind, with no transaction open, or whose encoding lacks a character.
        """

    async def apost(self, tx: Any, *commits: Commit) -> list[Created | PrunedId | None]:
        """`post` through a connection whose statements are awaited, on the event loop that runs it."""
        return self.post(tx, *commits)

    def load_in(self, tx: Any, run_id: str) -> Record | None:  # noqa: ARG002
        """The record of a run as `tx` sees it, with what was posted for it; without exchange and events. Raises what `post` raises.

        A run that was posted and not made yet has revision 0.
        """
        raise StoreError(f"tx={tx!r:.100}: this store has no transactions that a caller could join; leave tx= out")

    async def aload_in(self, tx: Any, run_id: str) -> Record | None:
        """`load_in` through a connection whose statements are awaited."""
        return self.load_in(tx, run_id)

    def load_schedule_in(self, tx: Any, schedule_id: str) -> ScheduleRow | None:  # noqa: ARG002
        """A schedule as `tx` sees it, with the edits that were posted for it. Raises what `post` raises."""
        raise StoreError(f"tx={tx!r:.100}: this store has no transactions that a caller could join; leave tx= out")

    async def aload_schedule_in(self, tx: Any, schedule_id: str) -> ScheduleRow | None:
        """`load_schedule_in` through a connection whose statements are awaited."""
        return self.load_schedule_in(tx, schedule_id)

    def begin(self, *, awaited: bool = False) -> UserTransaction:
        """Open a transaction for a user's function, an async one if `awaited` (law 25); for stores whose driver has `transactions`."""
        kind = "async functions" if awaited else "functions"
        raise StoreError(f"this store has no transactions for {kind}: leave the transaction out, or use another store")

    def hurry(self, *, ending: bool) -> None:  # noqa: B027 - a store of this machine waits for no network
        """While `ending`, all waits for a store that does not answer take a few seconds together: what asks after the first one is refused.

        From any thread; never blocks. For a store whose answers come over a network.
        """

    @abstractmethod
    def wait_for_change(self, token: int, timeout_s: float) -> int:
        """Return a new token when another session changed the store since `token` was given, or the same after the timeout."""


class Maintenance(ABC):
    """The second, small port: upkeep that no run waits for."""

    @abstractmethod
    def pruning(self, before: int, limit: int, *, now: int = 0, keep_until: int = 0) -> Iterator[Pruned]:
        """Delete up to `limit` runs that ended before `before`, with history, events, delays, data and journal: each step a piece (law 22).

        A run with a queue row or a delay that has not fired is kept. No number is given again. With `keep_until` the ids stay
        refused until that time; those whose time ended by `now` are free again. Close the iterator if it is not exhausted.
        """

    def prune(self, before: int, limit: int) -> int:
        """All pieces without a pause; how many runs were deleted."""
        return sum(piece.runs for piece in self.pruning(before, limit))

    @abstractmethod
    def check(self) -> list[str]:
        """Problems found in the store, in words; empty when it is sound."""

    def conflicts(self, limit: int) -> list[PostConflict]:  # noqa: ARG002
        """What callers' transactions committed and could not take place, the newest first, until it is pruned."""
        return []

    def conditions(self, now: Callable[[], int]) -> list[Condition]:  # noqa: ARG002
        """What may slow down or endanger the store, for `stepflow doctor`; `now()` is the time of this host, microseconds UTC."""
        return []


class Driver(ABC):
    """Names a store. Cheap to make; `connect` opens it, creating or migrating the schema when needed."""

    url: str

    transactions: Transactions = "none"
    """Which functions `Store.begin` can give a connection."""

    transaction_limit_s: float | None = None
    """How long such a function may take by default: for a store in which it keeps all other writers out."""

    @abstractmethod
    def connect(self, namespace: str, owner: Owner, now: int) -> Store:
        """Open a session. Raises SchemaMismatch, ReadOnly, Corrupt, Unavailable or another StoreError."""

    @abstractmethod
    def maintenance(self, namespace: str) -> Maintenance:
        """Open the maintenance port."""

    def note_change(self, namespace: str, note: ChangeNote) -> EndNote | None:  # noqa: ARG002
        """Tell the audit of the server behind the store what a person is about to change. None for a store that has none. Raises StoreErrors."""
        return None

    def notes(self, namespace: str, facts: Mapping[str, str], limit: int, cursor: str | None) -> NotePage | None:  # noqa: ARG002
        """A page of the audit of the server behind the store: the entries that have all `facts`. None for a store that has none. Raises StoreErrors."""
        return None

    def migrations(self) -> Sequence[tuple[int, str]]:
        """(number, script) of what makes the schema, in order; `connect` applies those that are missing. Empty without a schema."""
        return ()

    def distribution(self) -> str:
        """The script that distributes the tables of a store over a Citus cluster. Raises StoreError for stores of other kinds."""
        raise StoreError(f"{self.url}: only a PostgreSQL store can be distributed: give a postgresql:// URL")

    def distribute(self) -> None:
        """Run that script; no session may be open. Raises StoreError where it cannot be run."""
        raise StoreError(f"{self.url}: only a PostgreSQL store can be distributed: give a postgresql:// URL")
