"""The ready queue's rows: runs are read as snapshots for the rules, and rows are written, released and reclaimed."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence

from attrs import define

from stepflow.drivers.port.commit import Release
from stepflow.drivers.port.journal import Progress, progress_of
from stepflow.drivers.port.rules import decide_release, reclaimed, returned
from stepflow.drivers.port.snapshot import RunSnapshot
from stepflow.drivers.port.stored import read_transition
from stepflow.drivers.sqlite.bulk import many
from stepflow.drivers.sqlite.meta import epochs
from stepflow.drivers.sqlite.rows import QUEUE, partition, read_queue
from stepflow.model.lifecycle import QueueRow

RUN = (
    f"SELECT {QUEUE}, s.rev, s.transition, s.priority, s.limits, s.labels FROM stepflow_states AS s"
    " LEFT JOIN stepflow_queue AS q ON q.shard = s.shard AND q.id = s.id WHERE s.shard = ? AND s.id = ?"
)
DELAY = (
    f"SELECT {QUEUE}, d.rev, d.transition, d.number FROM stepflow_delays AS d"
    " LEFT JOIN stepflow_queue AS q ON q.shard = d.shard AND q.id = d.key WHERE d.shard = ? AND d.key = ? AND d.fired = 0"
)
PENDING = "SELECT seq, name FROM stepflow_events WHERE shard = ? AND run_id = ? AND taken = 0"
KNOWN = "SELECT 1 FROM stepflow_events WHERE shard = ? AND run_id = ? AND name = ? AND id = ?"
# The row of a delay has no State; its claim_rev is always the revision of its snapshot.
HELD = (
    f"SELECT {QUEUE}, q.id, ifnull(s.rev, q.claim_rev),"
    " (SELECT json_group_array(DISTINCT j.kind) FROM stepflow_journal AS j WHERE j.shard = q.shard AND j.run_id = q.id"
    " AND j.epoch = q.epoch) FROM stepflow_queue AS q INDEXED BY stepflow_queue_owned"
    " LEFT JOIN stepflow_states AS s ON s.shard = q.shard AND s.id = q.id"
    " WHERE q.shard = ? AND q.owner = ? AND q.owner <> '' ORDER BY q.id"
)
COLUMNS = (
    "flow",
    "due",
    "owner",
    "epoch",
    "claim_rev",
    "priority",
    "crashes",
    "cancel",
    "blocked",
    "blocked_by",
    "limits",
    "unfinished",
    "paused",
)
PUT = (
    f"INSERT INTO stepflow_queue ({', '.join(COLUMNS)}, id, partition, shard)"
    f" SELECT {', '.join(f'column{number}' for number in range(1, len(COLUMNS) + 3))}, ?1 FROM (VALUES {{rows}})"
    f" WHERE true ON CONFLICT (shard, id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in COLUMNS)},"
    " partition = excluded.partition"
)


MARK = "UPDATE stepflow_queue SET cancel = ?, paused = ? WHERE shard = ? AND id = ?"
# Free a row of which something cannot be read.
FREE = "UPDATE stepflow_queue SET owner = '', epoch = ?, partition = 1 WHERE shard = ? AND id = ?"


@define
class ReadyRows:
    """The queue of one shard within one write transaction at `now`."""

    connection: sqlite3.Connection
    shard: str
    now: int

    def epochs(self, number: int = 1) -> int:
        """Reserve epochs; the result is the first of them."""
        return epochs(self.connection, number)

    def snapshot(self, key: str, pending: bool, publishes: Sequence[tuple[str, str, str]] = ()) -> RunSnapshot:
        """A run, or a pending delay, for the rules; `publishes` are (run id, name, publish id) to be looked up."""
        execute = self.connection.execute
        found = execute(RUN, (self.shard, key)).fetchone()
        if found is None:
            return self._delay(key)
        rev, transition, priority, limits, labels = found[len(COLUMNS) :]
        run = _snapshot(rev, found, transition)
        run.rev, run.priority, run.limits, run.labels = rev, priority, limits, labels
        if pending:
            run.pending = dict(execute(PENDING, (self.shard, key)))
        asked = [(name, event_id) for run_id, name, event_id in publishes if run_id == key]
        run.known = {one for one in asked if execute(KNOWN, (self.shard, key, *one)).fetchone()}
        return run

    def _delay(self, key: str) -> RunSnapshot:
        found = self.connection.execute(DELAY, (self.shard, key)).fetchone() if "\0" in key else None
        if found is None:
            return RunSnapshot()
        rev, transition, offset = found[len(COLUMNS) :]
        run = _snapshot(rev, found, transition)
        run.delay = offset
        return run

    def write(self, runs: Mapping[str, RunSnapshot]) -> dict[str, int]:
        """Write the rows and marks that the rules noted on these snapshots; the new epochs by run."""
        execute, rows = self.connection.execute, {}
        for key, run in runs.items():
            if run.placed and run.row is not None:
                rows[key] = run.row
            elif run.placed:
                execute("DELETE FROM stepflow_queue WHERE shard = ? AND id = ?", (self.shard, key))
            elif run.marked:
                assert run.row is not None
                execute(MARK, (run.row.cancel, run.row.paused, self.shard, key))
        return self.requeue(rows)

    def requeue(self, rows: Mapping[str, QueueRow]) -> dict[str, int]:
        """Give runs and delays these rows, each with a new epoch; the epochs."""
        if not rows:
            return {}
        first = self.epochs(len(rows))
        epochs = {key: first + number for number, key in enumerate(rows)}
        values: list[object] = []
        for key, row in rows.items():
            place = partition(row.due, self.now, row.crashes, row.blocked_by, row.paused)
            values += (*row._replace(epoch=epochs[key]), key, place)
        many(self.connection, PUT, len(COLUMNS) + 2, values, self.shard)
        return epochs

    def keep(self, run_id: str, priority: int, limits: str) -> None:
        """Keep the priority and the limits of later rows of a run."""
        query = "UPDATE stepflow_states SET priority = ?, limits = ? WHERE shard = ? AND id = ?"
        self.connection.execute(query, (priority, limits, self.shard, run_id))

    def limit(self, run_id: str, limits: str) -> None:
        """Give the row of a run other limits."""
        query = "UPDATE stepflow_queue SET limits = ? WHERE shard = ? AND id = ?"
        self.connection.execute(query, (limits, self.shard, run_id))

    def release(self, batch: Sequence[Release]) -> list[bool]:
        """Release claims; False for those that are lost."""
        pending = {release.fence.id for release in batch if release.events}
        ids = dict.fromkeys(release.fence.id for release in batch)
        runs = {run_id: self.snapshot(run_id, run_id in pending) for run_id in ids}
        held = [decide_release(release, runs[release.fence.id], self.now) for release in batch]
        self.write(runs)
        return held

    def reclaim(self, owner: str) -> bool:
        """Free what a dead owner held."""
        held = self._free(owner, lambda row, rev, progress: reclaimed(row, rev, self.now, progress))
        return self._forget(owner) or held

    def leave(self, owner: str) -> None:
        """Free what an owner holds that ends."""
        self._free(owner, lambda row, rev, _progress: returned(row, rev))
        self._forget(owner)

    def _free(self, owner: str, freed: Callable[[QueueRow, int, Progress], QueueRow]) -> bool:
        found = self.connection.execute(HELD, (self.shard, owner)).fetchall()
        rows: dict[str, QueueRow] = {}
        for *columns, key, rev, kinds in found:
            row = read_queue(columns)
            if row is not None and row.blocked:  # a row that is owned is blocked by nothing but damage
                self.connection.execute(FREE, (self.epochs(), self.shard, key))
            elif row is not None:
                rows[key] = freed(row, rev, progress_of(json.loads(kinds)))
        self.requeue(rows)
        return bool(found)

    def _forget(self, owner: str) -> bool:
        key = (self.shard, owner)
        return bool(self.connection.execute("DELETE FROM stepflow_owners WHERE shard = ? AND id = ?", key).rowcount)


def _snapshot(rev: int, found: Sequence[object], transition: str) -> RunSnapshot:
    """A snapshot at a revision, from the columns `QUEUE`."""
    row = read_queue(found[: len(COLUMNS)])
    run = RunSnapshot(newest=rev, epoch=None if row is None else row.epoch, row=row)
    run.at(read_transition(transition))
    return run
