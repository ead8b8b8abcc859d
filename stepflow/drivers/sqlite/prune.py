"""prune: deletes ended runs in short write transactions; a run that is too large for one is hidden in its first and deleted in several.

Candidates are looked for without the lock of writers, each once per pruning. A run's history is deleted from its newest revision
back, so what is left of it is a sound chain, which begins where the hidden record says (`exchange_rev`).
"""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from attrs import define, field

from stepflow.drivers.port.pruning import GONE, NOWHERE, PAGE, PRUNED, PRUNING, RUNS, Budget, Candidates, Pruned, own_of
from stepflow.drivers.sqlite import tally
from stepflow.drivers.sqlite.database import SqliteDatabase
from stepflow.drivers.sqlite.limits import OVER
from stepflow.drivers.sqlite.lists import FLOWS
from stepflow.drivers.sqlite.meta import HEAD
from stepflow.model.lifecycle import FINAL

_KEPT = (
    "EXISTS (SELECT 1 FROM stepflow_queue AS q WHERE q.shard = s.shard AND q.id = s.id) OR EXISTS"
    " (SELECT 1 FROM stepflow_delays AS d WHERE d.shard = s.shard AND d.run_id = s.id AND d.fired = 0)"
)
# A run ended after it was created, so the index by creation time bounds the search.
LOOK = (
    f"SELECT s.created_at, s.id, CASE WHEN s.committed_at >= ?4 THEN 1 ELSE {_KEPT} END FROM stepflow_states AS s INDEXED BY stepflow_states_listed"
    " WHERE s.shard = ?1 AND s.flow = ?2 AND s.status = ?3 AND s.created_at < ?4 AND (s.created_at, s.id) > (?5, ?6)"
    " ORDER BY s.created_at, s.id LIMIT ?7"
)
# Asked again under the lock of writers.
ENDED = (
    f"SELECT s.rev, s.flow, s.status FROM stepflow_states AS s WHERE s.shard = ? AND s.id = ? AND s.committed_at < ?"
    f" AND s.status IN ({', '.join(repr(str(status)) for status in sorted(FINAL))}) AND NOT ({_KEPT})"
)
_GONE = "FROM stepflow_states INDEXED BY stepflow_states_listed WHERE shard = ?1 AND flow = '' AND status ="
HIDDEN = f"SELECT id, exchange_rev, created_at {_GONE} '{PRUNING}' LIMIT ?2"
EXPIRED = f"SELECT 1 {_GONE} '{GONE}' AND created_at <= ?2 LIMIT 1"
EXPIRE = f"DELETE FROM stepflow_states WHERE rowid IN (SELECT rowid {_GONE} '{GONE}' AND created_at <= ?2 LIMIT ?3)"
REVISIONS = (
    "WITH RECURSIVE chain(rev, prev, size) AS ("
    "SELECT rev, prev, ifnull(length(exchange), 0) FROM stepflow_history WHERE rev = ? UNION ALL"
    " SELECT h.rev, h.prev, ifnull(length(h.exchange), 0) FROM chain CROSS JOIN stepflow_history AS h ON h.rev = chain.prev"
    " WHERE chain.prev > 0) SELECT size, rev, prev FROM chain"
)
_OF_RUN = "WHERE shard = ? AND run_id = ?"
ATTACHED = (
    (f"SELECT length(payload), seq FROM stepflow_events {_OF_RUN}", "DELETE FROM stepflow_events WHERE seq = ?"),
    (f"SELECT 0, rowid FROM stepflow_delays {_OF_RUN}", "DELETE FROM stepflow_delays WHERE rowid = ?"),
    (f"SELECT length(text), seq FROM stepflow_journal {_OF_RUN}", "DELETE FROM stepflow_journal WHERE seq = ?"),
    (f"SELECT length(blob), rowid FROM stepflow_data {_OF_RUN}", "DELETE FROM stepflow_data WHERE rowid = ?"),
    (
        "SELECT 0, shard, id, name, value FROM stepflow_past_labels WHERE shard = ? AND id = ?",
        "DELETE FROM stepflow_past_labels WHERE shard = ? AND id = ? AND name = ? AND value = ?",
    ),
)
CONFLICTS_OVER = "FROM stepflow_conflicts WHERE shard = ? AND at < ?"  # there are few
UNLABEL = "DELETE FROM stepflow_labels WHERE shard = ? AND id = ?"
# The record that stands for a pruned run; `created_at` is until when, so that the index finds those whose time is over.
STAND_IN = (
    "UPDATE stepflow_states SET flow = '', status = ?, exchange_rev = ?, created_at = ?, rev = ?,"
    f" transition = '{NOWHERE}',"
    " labels = '{}', annotations = '{}', event = '', polls = 0, limits = '' WHERE shard = ? AND id = ?"
)
DELETE = "DELETE FROM stepflow_states WHERE shard = ? AND id = ?"
# The record that stands for a run is no new revision of it: of this connection, which only prunes.
NO_REVISION = "DROP TRIGGER IF EXISTS temp.stepflow_revision"
STRAY = "DELETE FROM stepflow_history WHERE rev = ?"  # what a version before this one left of such a record
LOG_BYTES = 4 << 20  # of the write-ahead log after which it is copied into the file


@define
class SqlitePruning:
    """One pruning of a shard on a database of its own."""

    database: SqliteDatabase
    shard: str
    candidates: Candidates
    left: int  # runs that may be deleted still
    now: int
    keep_until: int

    def pieces(self) -> Iterator[Pruned]:
        """Delete a piece at each step, until there is nothing more to delete."""
        self.database.check_writable()
        self.database.prepare("PRAGMA wal_autocheckpoint=0")  # else a commit would do it within the turn
        self.database.prepare(NO_REVISION)
        ids, waiting = self.candidates.ids(self._groups, self._page), deque[str]()
        while True:
            waiting.extend(islice(ids, max(min(RUNS, self.left) - len(waiting), 0)))
            if not waiting and not self._has_more():
                break
            with self.database.writing(synced=False) as writer:  # what a power failure brings back is deleted again
                piece = _SqlitePiece(writer, self.shard, self.candidates.before, self.now, self.keep_until)
                flows = piece.write(waiting)
            self.left -= len(flows)
            self.database.checkpoint(LOG_BYTES)
            yield Pruned(len(flows), piece.revisions, 1, own_of(flows))
        yield from self._delete_over()

    def _groups(self) -> list[tuple[str, str]]:
        with self.database.reading() as reader:
            flows = [name for (name,) in reader.execute(FLOWS, (self.shard,))]
        return [(flow, str(status)) for flow in flows for status in sorted(FINAL)]

    def _page(self, group: Sequence[str], created_at: int, run_id: str) -> list[Any]:
        with self.database.reading() as reader:
            values = (self.shard, *group, self.candidates.before, created_at, run_id, PAGE)
            return reader.execute(LOOK, values).fetchall()

    def _has_more(self) -> bool:
        """Whether runs are hidden that are not deleted yet, or ids whose time is over."""
        with self.database.reading() as reader:
            hidden = reader.execute(HIDDEN, (self.shard, 1)).fetchone()
            return hidden is not None or reader.execute(EXPIRED, (self.shard, self.now)).fetchone() is not None

    def _delete_over(self) -> Iterator[Pruned]:
        """Delete conflicts, start times and deduplication keys that ended, each page in a transaction."""
        with self.database.reading() as reader:
            conflicts = reader.execute(
                f"SELECT EXISTS (SELECT 1 {CONFLICTS_OVER})", (self.shard, self.candidates.before)
            )
            found = bool(conflicts.fetchone()[0])
        if found:
            with self.database.writing(synced=False) as writer:
                writer.execute(f"DELETE {CONFLICTS_OVER}", (self.shard, self.candidates.before))
            yield Pruned(pieces=1)
        for look, delete in OVER:
            last: Any = None
            while True:
                with self.database.reading() as reader:
                    values = (self.shard, self.candidates.before, last, Budget().rows)
                    rows = reader.execute(look, values).fetchall()
                if not rows:
                    break
                last = rows[-1][0]
                with self.database.writing(synced=False) as writer:
                    writer.executemany(delete, [(self.shard, self.candidates.before, key) for (key,) in rows])
                yield Pruned(pieces=1)


@define
class _SqlitePiece:
    """One write transaction of a pruning."""

    writer: sqlite3.Connection
    shard: str
    before: int
    now: int
    keep_until: int
    revisions: int = 0
    budget: Budget = field(factory=Budget)

    def write(self, waiting: deque[str]) -> list[str]:
        """Go on with hidden runs, then take waiting ones; the flows of those that are gone now and were there before."""
        shard, execute = self.shard, self.writer.execute
        execute(EXPIRE, (shard, self.now, self.budget.rows))
        execute(STRAY, (PRUNED,))
        for run_id, rev, keep_until in execute(HIDDEN, (shard, RUNS)).fetchall():
            if not self.budget.spent:
                self._delete(run_id, rev, keep_until)
        floor = f"UPDATE stepflow_meta SET value = ({HEAD}) WHERE name = 'rev_floor'"
        pruned: list[tuple[str, str, int]] = []
        while waiting and not self.budget.spent:
            run_id = waiting.popleft()
            found = execute(ENDED, (shard, run_id, self.before)).fetchone()
            if found is not None:
                if not pruned:  # the newest revision may be deleted, and must not be assigned again
                    execute(floor)
                execute(UNLABEL, (shard, run_id))
                rev, flow, status = found
                self._delete(run_id, rev, self.keep_until)
                pruned.append((flow, status, rev))
        if pruned:
            tally.pruned(self.writer, shard, pruned)
        return [flow for flow, _status, _rev in pruned]

    def _delete(self, run_id: str, rev: int, keep_until: int) -> None:
        """Delete what the budget allows of a run whose newest revision is `rev`, and its record or what stands for it."""
        shard, execute = self.shard, self.writer.execute
        revisions, complete = self._take(execute(REVISIONS, (rev,)) if rev else ())
        self.revisions += len(revisions)
        self.writer.executemany("DELETE FROM stepflow_history WHERE rev = ?", [key[:1] for key in revisions])
        rest = rev if not revisions else revisions[-1][1]
        for look, delete in ATTACHED:
            if complete:
                keys, complete = self._take(execute(look, (shard, run_id)))
                self.writer.executemany(delete, keys)
        if not complete:
            execute(STAND_IN, (PRUNING, rest, keep_until, PRUNED, shard, run_id))
        elif keep_until > self.now:
            execute(STAND_IN, (GONE, 0, keep_until, PRUNED, shard, run_id))
        else:
            execute(DELETE, (shard, run_id))

    def _take(self, rows: Iterable[tuple[Any, ...]]) -> tuple[list[tuple[Any, ...]], bool]:
        """The keys of the first rows (size, *key), as many as the budget allows, and whether these are all."""
        taken: list[tuple[Any, ...]] = []
        for size, *key in rows:
            if self.budget.spent:
                return taken, False
            self.budget.spend(size)
            taken.append(tuple(key))
        return taken, True
