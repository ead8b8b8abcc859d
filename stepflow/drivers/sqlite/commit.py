"""The general path: one commit at a time, decided by the rules and then written; it may hold anything that the port allows."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from attrs import define

from stepflow.drivers.port.commit import Commit, Committed, Event, Write
from stepflow.drivers.port.delays import delay_key
from stepflow.drivers.port.rules import (
    NO_EXCHANGE,
    Changes,
    created_by,
    decide_commit,
    delay_row,
    ids_of,
    pending_ids_of,
    publishes_of,
    schedules_of,
)
from stepflow.drivers.port.snapshot import RunSnapshot
from stepflow.drivers.port.stored import map_text
from stepflow.drivers.sqlite.bulk import LABEL, many
from stepflow.drivers.sqlite.delays import PAST, SqliteDelaysAndData
from stepflow.drivers.sqlite.errors import MEMBER_ERRORS, member_error
from stepflow.drivers.sqlite.journal import SqliteJournal, values_of
from stepflow.drivers.sqlite.limits import SqliteLimits
from stepflow.drivers.sqlite.pauses import SqlitePausedFlows
from stepflow.drivers.sqlite.queue import ReadyRows
from stepflow.drivers.sqlite.rows import derived_of
from stepflow.drivers.sqlite.schedules import SqliteSchedules
from stepflow.errors import StepflowError

LARGEST = 1_000_000_000  # bytes of a value


@define
class CommitApplier:
    """Applies commits within one write transaction at `now`; `rev` is the last revision given.

    `owner` gets the rows that are enqueued as owned; the caller shows it to the others.
    """

    connection: sqlite3.Connection
    shard: str
    now: int
    rev: int
    owner: str

    def apply(self, commit: Commit) -> Committed | StepflowError:
        """Apply a commit whole, or answer why nothing of it was applied."""
        execute, rev = self.connection.execute, self.rev
        execute("SAVEPOINT member")
        try:
            result = self._decided(commit)
        except MEMBER_ERRORS as error:
            result = member_error(error)
            execute("ROLLBACK TO member")
            self.rev = rev
        execute("RELEASE member")
        return result

    @property
    def _queue(self) -> ReadyRows:
        return ReadyRows(self.connection, self.shard, self.now)

    @property
    def _control(self) -> SqliteLimits:
        return SqliteLimits(self.connection, self.shard, self.now)

    @property
    def _attached(self) -> SqliteDelaysAndData:
        return SqliteDelaysAndData(self.connection, self.shard)

    @property
    def _schedules(self) -> SqliteSchedules:
        return SqliteSchedules(self.connection, self.shard)

    def _decided(self, commit: Commit) -> Committed | StepflowError:
        queue, publishes, pending = self._queue, publishes_of(commit), set(pending_ids_of(commit))
        runs = {key: queue.snapshot(key, key in pending, publishes) for key in ids_of(commit)}
        kept = {key: (run.priority, run.limits) for key, run in runs.items()}
        changes = Changes(self.owner, "sqlite://", LARGEST)
        if commit.data or commit.delays:
            changes.last_data, changes.last_delay = self._attached.last("data"), self._attached.last("delays")
        if commit.dedup is not None:
            changes.reserved = self._control.reserved(commit.dedup)
        for schedule_id in schedules_of(commit):
            changes.schedules[schedule_id] = self._schedules.get(schedule_id)
        revs = tuple(range(self.rev + 1, self.rev + 1 + len(commit.writes)))
        problem = decide_commit(commit, 0, runs, self.now, changes, revs)
        if problem is not None:
            return problem
        epochs = self._write_changes(changes, runs)
        for key, run in runs.items():
            if (run.priority, run.limits) != kept[key]:
                queue.keep(key, run.priority, run.limits)
        data_revs, offsets = changes.numbers.get(0, ((), ()))
        held = tuple([epochs[run_id] for _number, run_id in changes.held])
        return Committed(revs, data_revs, offsets, held, self.now)

    def _write_changes(self, changes: Changes, runs: Mapping[str, RunSnapshot]) -> Mapping[str, int]:
        """Write what the rules noted; the epochs of the rows that were placed."""
        for _slot, write, creates in changes.writes:
            self._write(write, "" if creates else runs[write.state.id].labels)
        for run_id, seq in changes.consumed:
            self._consume(run_id, seq)
        for event in changes.events:
            self._publish(event)
        journal = SqliteJournal(self.connection, self.shard)
        for run_id, name in changes.forgets:
            journal.forget(run_id, name)
        journal.put([value for run_id, row in changes.journal for value in values_of(run_id, (row,), row.epoch)])
        epochs = self._queue.write(runs)
        for run in runs.values():
            if run.fired:
                self._attached.fire(run.delay)
        self._attached.store(changes.data)
        self._attached.delay(changes.delays)
        delayed = {delay_key(delay.state.id, offset): delay_row(delay) for offset, delay in changes.delays.items()}
        self._queue.requeue(delayed)
        for dedup in changes.reserves:
            self._control.reserve(dedup)
        self._schedules.write(changes.scheduled)
        SqlitePausedFlows(self.connection, self.shard).write(changes.flow_pauses)
        return epochs

    def _write(self, write: Write, last_labels: str) -> None:
        """Write a revision; `last_labels` is the stored form of the run's labels, empty if this creates it."""
        self.rev += 1
        state, transition = write.state, write.state.transition
        texts = (transition.text, map_text(state.labels), map_text(state.annotations))
        derived = derived_of(transition)
        exchange = write.exchange
        if last_labels:
            self._update(write, texts, derived, last_labels)
            if exchange is None:
                return  # REVISION has made the row of the history
        else:
            exchange = NO_EXCHANGE if exchange is None else exchange
            created = created_by(write, self.now)
            self.connection.execute(
                "INSERT INTO stepflow_states (shard, id, rev, flow, input_hash, created_at, transition, labels,"
                " annotations, status, event, polls, committed_at, exchange_rev)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (self.shard, state.id, self.rev, *created, *texts, *derived, self.now, self.rev),
            )
            self._label(write)
        self.connection.execute(
            "INSERT INTO stepflow_history (rev, shard, id, prev, transition, labels, annotations, committed_at, exchange)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (self.rev, self.shard, state.id, state.rev, *texts, self.now, exchange),
        )

    def _update(
        self, write: Write, texts: tuple[str, str, str], derived: tuple[str, str, bool], last_labels: str
    ) -> None:
        key = (self.shard, write.state.id)
        self.connection.execute(
            "UPDATE stepflow_states SET rev = ?, transition = ?, labels = ?, annotations = ?, status = ?, event = ?,"
            " polls = ?, committed_at = ?, exchange_rev = ifnull(?, exchange_rev) WHERE shard = ? AND id = ?",
            (self.rev, *texts, *derived, self.now, None if write.exchange is None else self.rev, *key),
        )
        if texts[1] != last_labels:
            self.connection.execute(PAST, key)
            self.connection.execute("DELETE FROM stepflow_labels WHERE shard = ? AND id = ?", key)
            self._label(write)

    def _label(self, write: Write) -> None:
        rows = [part for name, value in write.state.labels.items() for part in (name, value, write.state.id)]
        many(self.connection, LABEL, 3, rows, self.shard)

    def _consume(self, run_id: str, seq: int) -> None:
        self.connection.execute(
            "UPDATE stepflow_events SET taken = 1, payload = '' WHERE seq = ? AND shard = ? AND run_id = ?",
            (seq, self.shard, run_id),
        )

    def _publish(self, event: Event) -> None:
        self.connection.execute(
            "INSERT INTO stepflow_events (shard, run_id, name, id, payload, published_at, traceparent) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                self.shard,
                event.run_id,
                event.name,
                event.id,
                event.payload,
                event.published_at,
                event.traceparent or None,
            ),
        )
