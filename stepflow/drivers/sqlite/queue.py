"""The ready queue's rows: how they are put, given back and taken from the dead."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

import sqlite3

from attrs import define

from stepflow.drivers.port.commit import Dequeue, Enqueue, Release
from stepflow.drivers.port.stored import printable, read_transition
from stepflow.drivers.sqlite.rows import QUEUE, lane, read_queue
from stepflow.errors import LostClaim
from stepflow.model.lifecycle import SUSPECT, QueueRow
from stepflow.model.limits import after_start

# The row of a run together with what decides whether it is wanted now: a cancel that the holder has not seen, or an
# event that the run waits for (?3: its name, or NULL for the one that its State names).
LOOK = (
    f"SELECT {QUEUE}, s.status, s.event, s.transition, s.priority, s.limits, EXISTS (SELECT 1 FROM stepflow_events AS e"
    " WHERE e.shard = s.shard AND e.run_id = s.id AND e.taken = 0 AND e.name = ifnull(?3, nullif(s.event, '')))"
    " FROM stepflow_states AS s LEFT JOIN stepflow_queue AS q ON q.shard = s.shard AND q.id = s.id"
    " WHERE s.shard = ?1 AND s.id = ?2"
)
LOOK_DELAY = f"SELECT {QUEUE}, '', '', '', q.priority, '', 0 FROM stepflow_queue AS q WHERE q.shard = ?1 AND q.id = ?2"

PUT = (
    "INSERT INTO stepflow_queue (shard, id, flow, due, epoch, priority, cancel, lane, limits)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (shard, id) DO UPDATE SET flow = excluded.flow, due = excluded.due, epoch = excluded.epoch,"
    " priority = excluded.priority, cancel = excluded.cancel, lane = excluded.lane, limits = excluded.limits,"
    " owner = '', claim_rev = 0, crashes = 0, blocked = '', blocked_by = ''"
)
HOLD = (
    "INSERT INTO stepflow_queue (shard, id, flow, due, owner, epoch, claim_rev, priority, limits, lane)"
    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, (SELECT limits FROM stepflow_states WHERE shard = ?1 AND id = ?2), 1)"
    " ON CONFLICT (shard, id) DO UPDATE SET flow = excluded.flow, due = excluded.due,"
    " owner = excluded.owner, epoch = excluded.epoch, claim_rev = excluded.claim_rev, priority = excluded.priority,"
    " crashes = 0, blocked = '', blocked_by = ''"
)
DELAY = "INSERT INTO stepflow_queue (shard, id, flow, due, epoch, claim_rev, lane) VALUES (?, ?, ?, ?, ?, ?, ?)"
UNOWN = (
    "UPDATE stepflow_queue SET owner = '', due = ?, lane = ?, epoch = ?, crashes = ?, blocked = ?, blocked_by = ?"
    " WHERE shard = ? AND id = ?"
)


@define
class QueuePreview:
    """A run's row, and why it may be wanted now; `limits` are those of its row, or of its next one."""

    row: QueueRow | None
    status: str
    event: str
    transition: str
    priority: int
    limits: str
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

    def look(self, run_id: str, event: str | None = None) -> QueuePreview:
        """The row of a run or a delay that exists."""
        found = self.connection.execute(LOOK, (self.shard, run_id, event)).fetchone()
        if found is None:
            found = self.connection.execute(LOOK_DELAY, (self.shard, run_id)).fetchone()
        *columns, status, awaited, transition, priority, limits, pending = found
        row = read_queue(tuple(columns))
        return QueuePreview(row, status, awaited, transition, priority, row.limits if row else limits, bool(pending))

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
            self._insert(part.id, part.flow, due, part.priority, part.limits or found.limits, found.cancelled)
        elif found.cancelled or found.pending:
            self._insert(part.id, found.flow, self.now, found.priority, found.limits, found.cancelled)
        else:
            self.remove(part.id)

    def _prefer(self, part: Enqueue) -> None:
        query = "UPDATE stepflow_states SET priority = ?1 WHERE shard = ?2 AND id = ?3 AND priority <> ?1"
        self.connection.execute(query, (part.priority, self.shard, part.id))
        if part.limits:
            query = "UPDATE stepflow_states SET limits = ? WHERE shard = ? AND id = ?"
            self.connection.execute(query, (after_start(part.limits), self.shard, part.id))

    def limit(self, run_id: str, limits: str) -> None:
        """Give the row of a run other limits."""
        query = "UPDATE stepflow_queue SET limits = ? WHERE shard = ? AND id = ?"
        self.connection.execute(query, (limits, self.shard, run_id))

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
            self._insert(run_id, found.flow, self.now, found.priority, found.limits, False)
        elif not row.owner and row.due > self.now:
            self._unown(run_id, self.now, row.crashes, row.blocked, row.blocked_by)

    def _insert(self, run_id: str, flow: str, due: int, priority: int, limits: str, cancel: bool) -> None:
        row = (flow, due, self.epochs(), priority, cancel, lane(due, self.now), limits)
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

    def reclaim(self, owner: str) -> bool:
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
