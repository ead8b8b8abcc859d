"""The ready queue's rows: how they are put, given, given back and taken from the dead."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence

from attrs import define

from stepflow.drivers.sqlite.fast import many
from stepflow.drivers.sqlite.rows import QUEUE, SUSPECT, lane, printable, read_queue, read_transition
from stepflow.drivers.values import Claim, Dequeue, Enqueue, Fence, Release
from stepflow.errors import LostClaim
from stepflow.model.lifecycle import QueueRow

# Rows of a flow that one claim makes ready at most: a bound for its time. Of more rows that became due since the last
# claim, those that were due first come first, whatever their priority.
PROMOTED = 5_000

# The row of a run together with what decides whether it is wanted now: a cancel that the holder has not seen, or an
# event that the run waits for (?3: its name, or NULL for the one that its State names).
LOOK = (
    f"SELECT {QUEUE}, s.status, s.event, s.transition, s.priority, EXISTS (SELECT 1 FROM stepflow_events AS e"
    " WHERE e.shard = s.shard AND e.run_id = s.id AND e.taken = 0 AND e.name = ifnull(?3, nullif(s.event, '')))"
    " FROM stepflow_states AS s LEFT JOIN stepflow_queue AS q ON q.shard = s.shard AND q.id = s.id"
    " WHERE s.shard = ?1 AND s.id = ?2"
)
LOOK_DELAY = f"SELECT {QUEUE}, '', '', '', q.priority, 0 FROM stepflow_queue AS q WHERE q.shard = ?1 AND q.id = ?2"

# Promoted rows are in the order of priorities. Blocked ones are looked for on both sides of the own definition, so that
# those which this worker blocked cost nothing. The row of a delay has no State; its claim_rev is always that of its snapshot.
CANDIDATES = (
    f"SELECT q.id, ifnull(s.rev, q.claim_rev), {QUEUE} FROM stepflow_queue AS q INDEXED BY stepflow_queue_{{index}}"
    " LEFT JOIN stepflow_states AS s ON s.shard = q.shard AND s.id = q.id WHERE q.shard = ?1 AND q.flow = ?2 AND q.owner = '' AND q.due <= ?3"
)
ORDER = " ORDER BY q.priority, q.due, q.id LIMIT ?4"
PLAIN = f"{CANDIDATES.format(index='next')} AND q.lane = 1 AND q.blocked_by = ''{ORDER}"
BELOW = f"{CANDIDATES.format(index='next')} AND q.lane = 1 AND q.blocked_by > '' AND q.blocked_by < ?5{ORDER}"
ABOVE = f"{CANDIDATES.format(index='next')} AND q.lane = 1 AND q.blocked_by > ?5{ORDER}"
SUSPECTS = f"{CANDIDATES.format(index='suspect')} AND q.lane = 2 AND q.blocked_by <> ?5{ORDER}"

TAKE = (
    "UPDATE stepflow_queue SET owner = ?1, epoch = ?2, blocked = '', blocked_by = '', claim_rev = ifnull("
    "(SELECT rev FROM stepflow_states AS s WHERE s.shard = stepflow_queue.shard AND s.id = stepflow_queue.id), claim_rev)"
    " WHERE shard = ?3 AND id IN (VALUES {rows})"
)
PROMOTE = (
    "UPDATE stepflow_queue SET lane = 1 WHERE shard = ?1 AND id IN (SELECT id FROM stepflow_queue INDEXED BY stepflow_queue_later"
    " WHERE shard = ?1 AND flow = ?2 AND owner = '' AND lane = 0 AND due <= ?3 ORDER BY due LIMIT ?4)"
)
PUT = (
    "INSERT INTO stepflow_queue (shard, id, flow, due, epoch, priority, cancel, lane) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (shard, id) DO UPDATE SET flow = excluded.flow, due = excluded.due, epoch = excluded.epoch,"
    " priority = excluded.priority, cancel = excluded.cancel, lane = excluded.lane,"
    " owner = '', claim_rev = 0, crashes = 0, blocked = '', blocked_by = ''"
)
HOLD = (
    "INSERT INTO stepflow_queue (shard, id, flow, due, owner, epoch, claim_rev, priority, lane)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1) ON CONFLICT (shard, id) DO UPDATE SET flow = excluded.flow, due = excluded.due,"
    " owner = excluded.owner, epoch = excluded.epoch, claim_rev = excluded.claim_rev, priority = excluded.priority,"
    " crashes = 0, blocked = '', blocked_by = ''"
)
DELAY = "INSERT INTO stepflow_queue (shard, id, flow, due, epoch, claim_rev, lane) VALUES (?, ?, ?, ?, ?, ?, ?)"
UNOWN = (
    "UPDATE stepflow_queue SET owner = '', due = ?, lane = ?, epoch = ?, crashes = ?, blocked = ?, blocked_by = ?"
    " WHERE shard = ? AND id = ?"
)


@define
class Look:
    """A run's row, and why it may be wanted now."""

    row: QueueRow | None
    status: str
    event: str
    transition: str
    priority: int
    pending: bool

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked the holder to cancel, and the run has not ended."""
        return self.row is not None and self.row.cancel and not self.status

    @property
    def flow(self) -> str:
        """The flow that goes on with the run."""
        return self.row.flow if self.row else read_transition(self.transition).to


@define
class ReadyRows:
    """The queue of one shard within one write transaction at `now`."""

    connection: sqlite3.Connection
    shard: str
    now: int

    def epochs(self, number: int = 1) -> int:
        """Reserve epochs; the result is the first of them."""
        self.connection.execute("UPDATE stepflow_meta SET value = value + ? WHERE name = 'epoch'", (number,))
        row = self.connection.execute("SELECT value FROM stepflow_meta WHERE name = 'epoch'").fetchone()
        return int(row[0]) - number + 1

    def holder(self, run_id: str) -> tuple[int | None, str]:
        """Epoch and owner of a run's row; (None, "") without one."""
        query = "SELECT epoch, owner FROM stepflow_queue WHERE shard = ? AND id = ?"
        return self.connection.execute(query, (self.shard, run_id)).fetchone() or (None, "")

    def look(self, run_id: str, event: str | None = None) -> Look:
        """The row of a run or a delay that exists."""
        found = self.connection.execute(LOOK, (self.shard, run_id, event)).fetchone()
        if found is None:
            found = self.connection.execute(LOOK_DELAY, (self.shard, run_id)).fetchone()
        *row, status, awaited, transition, priority, pending = found
        return Look(read_queue(tuple(row)), status, awaited, transition, priority, bool(pending))

    def cancel(self, run_id: str) -> LostClaim | None:
        """Mark an owned row."""
        cursor = self.connection.execute(
            "UPDATE stepflow_queue SET cancel = 1 WHERE shard = ? AND id = ? AND owner <> ''", (self.shard, run_id)
        )
        return None if cursor.rowcount else LostClaim(f"run {run_id!r} is not held by a worker: cancel it directly")

    def put(self, part: Enqueue | Dequeue) -> None:
        """Replace or remove the row of a run that exists.

        A cancel that the holder has not seen makes it due now; so does an awaited event that was published since the
        holder looked, if the row was to be removed.
        """
        found = self.look(part.id)
        if isinstance(part, Enqueue):
            self._prefer(part)
            due = min(part.due, self.now) if found.cancelled else part.due
            self._insert(part.id, part.flow, due, part.priority, found.cancelled)
        elif found.cancelled or found.pending:
            self._insert(part.id, found.flow, self.now, found.priority, found.cancelled)
        else:
            self.remove(part.id)

    def _prefer(self, part: Enqueue) -> None:
        query = "UPDATE stepflow_states SET priority = ?1 WHERE shard = ?2 AND id = ?3 AND priority <> ?1"
        self.connection.execute(query, (part.priority, self.shard, part.id))

    def hold(self, part: Enqueue, owner: str, rev: int) -> int:
        """Give the row of a run at `rev` to `owner`, as if it had claimed it; a cancel that was asked for stays. Its epoch."""
        self._prefer(part)
        epoch = self.epochs()
        row = (part.flow, part.due, owner, epoch, rev, part.priority)
        self.connection.execute(HOLD, (self.shard, part.id, *row))
        return epoch

    def delay(self, key: str, flow: str, due: int, rev: int) -> None:
        """Give a delay of a State at `rev` its row."""
        row = (flow, due, self.epochs(), rev, lane(due, self.now))
        self.connection.execute(DELAY, (self.shard, key, *row))

    def wake(self, run_id: str, event: str) -> None:
        """Make a run that waits for this event due now."""
        found = self.look(run_id, event)
        row = found.row
        if found.event != event or found.status:
            return
        if row is None:
            self._insert(run_id, found.flow, self.now, found.priority, False)
        elif not row.owner and row.due > self.now:
            self._unown(run_id, self.now, row.crashes, row.blocked, row.blocked_by)

    def _insert(self, run_id: str, flow: str, due: int, priority: int, cancel: bool) -> None:
        row = (flow, due, self.epochs(), priority, cancel, lane(due, self.now))
        self.connection.execute(PUT, (self.shard, run_id, *row))

    def _unown(self, run_id: str, due: int, crashes: int, blocked: str, blocked_by: str) -> None:
        place = lane(due, self.now, crashes, blocked_by)
        row = (due, place, self.epochs(), crashes, blocked, blocked_by)
        self.connection.execute(UNOWN, (*row, self.shard, run_id))

    def remove(self, run_id: str) -> None:
        """Take the row of a run or a delay away."""
        self.connection.execute("DELETE FROM stepflow_queue WHERE shard = ? AND id = ?", (self.shard, run_id))

    def release(self, release: Release) -> bool:
        """Give one claim back; False when it is lost."""
        run_id = release.fence.id
        if self.holder(run_id)[0] != release.fence.epoch:
            return False
        found = self.look(run_id, release.event)
        assert found.row is not None
        due = release.due
        if found.cancelled or (release.event and found.pending):
            due = self.now if due is None else min(due, self.now)
        if due is None:
            self.remove(run_id)
        else:
            crashes = found.row.crashes if release.crashes is None else release.crashes
            self._unown(run_id, due, crashes, printable(release.blocked), release.blocked_by)
        return True

    def claim(
        self, owner: str, flows: Mapping[str, str], limit: int, suspects: bool, skip: Collection[str]
    ) -> list[Claim]:
        """Give due rows to `owner`, in order of priority, due time and id."""
        if limit <= 0:
            return []
        found = [
            (row.priority, row.due, run_id, rev, row)
            for flow, definition in flows.items()
            for run_id, rev, row in self._candidates(flow, definition, limit + len(skip), suspects)
            if run_id not in skip
        ]
        found.sort(key=lambda item: item[:3])
        return self._take(owner, [(run_id, rev, row) for _priority, _due, run_id, rev, row in found[:limit]])

    def _candidates(self, flow: str, definition: str, limit: int, suspects: bool) -> list[tuple[str, int, QueueRow]]:
        key = (self.shard, flow, self.now, limit)
        self.connection.execute(PROMOTE, (self.shard, flow, self.now, max(limit, PROMOTED)))
        if suspects:
            rows = self.connection.execute(SUSPECTS, (*key, definition)).fetchall()
        else:
            rows = self.connection.execute(PLAIN, key).fetchall()
            for query in (BELOW, ABOVE):
                rows += self.connection.execute(query, (*key, definition)).fetchall()
        return [(row[0], row[1], queued) for row in rows if (queued := read_queue(row[2:]))]

    def _take(self, owner: str, found: Sequence[tuple[str, int, QueueRow]]) -> list[Claim]:
        if not found:
            return []
        epoch = self.epochs()
        many(self.connection, TAKE, 1, [run_id for run_id, _rev, _row in found], owner, epoch, self.shard)
        return [
            Claim(
                Fence(run_id, epoch),
                QueueRow(row.flow, row.due, owner, epoch, rev, row.priority, row.crashes, row.cancel),
            )
            for run_id, rev, row in found
        ]

    def bury(self, owner: str) -> bool:
        """Free what a dead owner held; runs it made no commit in are suspected of having killed it."""
        held = self.connection.execute(
            "UPDATE stepflow_queue INDEXED BY stepflow_queue_owned SET crashes ="
            " CASE WHEN claim_rev = ifnull((SELECT rev FROM stepflow_states AS s WHERE s.shard = stepflow_queue.shard"
            " AND s.id = stepflow_queue.id), claim_rev) THEN crashes + 1 ELSE 0 END"
            " WHERE shard = ? AND owner = ? AND owner <> ''",
            (self.shard, owner),
        ).rowcount
        if held:
            self._free(owner, "?4", self.now)
        key = (self.shard, owner)
        known = self.connection.execute("DELETE FROM stepflow_owners WHERE shard = ? AND id = ?", key).rowcount
        return bool(held or known)

    def _free(self, owner: str, due: str, now: int) -> None:
        self.connection.execute(
            f"UPDATE stepflow_queue INDEXED BY stepflow_queue_owned SET owner = '', due = {due}, epoch = ?3,"
            f" lane = CASE WHEN crashes >= {SUSPECT} THEN 2 ELSE 1 END"
            " WHERE shard = ?1 AND owner = ?2 AND owner <> '' AND ?4 IS NOT NULL",
            (self.shard, owner, self.epochs(), now),
        )

    def leave(self, owner: str) -> None:
        """Give back all that an owner that ends holds; it was due when it was claimed and stays so."""
        self._free(owner, "due", self.now)
        self.connection.execute("DELETE FROM stepflow_owners WHERE shard = ? AND id = ?", (self.shard, owner))
