"""The general path: one commit at a time, each under a savepoint; it may hold anything that the port allows."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from attrs import define

from stepflow.drivers.port.commit import Commit, Committed, Created, Dequeue, Enqueue, Event, Write
from stepflow.drivers.port.delays import delay_key
from stepflow.drivers.port.placeholders import filled
from stepflow.drivers.port.stored import map_text
from stepflow.drivers.sqlite.delays import PAST, DelaysAndData
from stepflow.drivers.sqlite.errors import MEMBER_ERRORS, member_error
from stepflow.drivers.sqlite.limits import Control
from stepflow.drivers.sqlite.queue import ReadyRows
from stepflow.errors import LostClaim, NotFound, RevMismatch, StepflowError


@define
class CommitApplier:
    """Applies commits within one write transaction at `now`; `rev` is the last revision given.

    `owner` gets the rows that are enqueued as owned; it must be known to the others by then.
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
            result = self._problem(commit) or self._changes(commit)
        except MEMBER_ERRORS as error:
            result = member_error(error)
        if isinstance(result, StepflowError):
            execute("ROLLBACK TO member")
            self.rev = rev
        execute("RELEASE member")
        return result

    @property
    def _queue(self) -> ReadyRows:
        return ReadyRows(self.connection, self.shard, self.now)

    def _problem(self, commit: Commit) -> StepflowError | None:
        fence = commit.fence
        if fence is not None and self._queue.holder(fence.id)[0] != fence.epoch:
            return LostClaim(
                f"run {fence.id!r}: the claim with epoch {fence.epoch} is gone, another worker may hold the run: drop it"
            )
        for run_id in commit.unowned:
            if self._queue.holder(run_id)[1]:
                return LostClaim(f"run {run_id!r} is held by a worker: cancel it, or wait until it is given back")
        problem = self._stale(commit.writes)
        return problem or (None if commit.dedup is None else self._control.duplicate(commit.dedup))

    def _stale(self, writes: Sequence[Write]) -> RevMismatch | None:
        met: set[str] = set()
        stale = []
        for write in writes:
            state = write.state
            if state.id in met or (self._newest(state.id) or 0) != state.rev:
                stale.append(state.id)
            met.add(state.id)
        return RevMismatch(stale) if stale else None

    def _newest(self, run_id: str) -> int | None:
        query = "SELECT rev FROM stepflow_states WHERE shard = ? AND id = ?"
        row = self.connection.execute(query, (self.shard, run_id)).fetchone()
        return None if row is None else int(row[0])

    def _changes(self, commit: Commit) -> Committed | StepflowError:
        commit = self._filled(commit)
        if commit.dedup is not None:
            self._control.reserve(commit.dedup)
        revs = tuple([self._write(write) for write in commit.writes])
        epochs: list[int] = []
        problem = self._consume(commit)
        for part in commit.queue:
            problem = problem or self._requeue(part, epochs)
        for event in commit.publish:
            problem = problem or self._publish(event)
        for cancel in commit.cancel:
            problem = problem or self._queue.cancel(cancel.id)
        data_revs, offsets = self._attach(commit) if commit.delays or commit.data else ((), ())
        return problem or Committed(revs, data_revs, offsets, tuple(epochs), self.now)

    @property
    def _control(self) -> Control:
        return Control(self.connection, self.shard, self.now)

    @property
    def _attached(self) -> DelaysAndData:
        return DelaysAndData(self.connection, self.shard)

    def _filled(self, commit: Commit) -> Commit:
        """The commit with the numbers that it will get."""
        if not commit.placeholders:
            return commit
        first = self._attached.last("data") + 1 if commit.data else 1
        revs = range(self.rev + 1, self.rev + 1 + len(commit.writes))
        return filled(commit, revs, range(first, first + len(commit.data)), self.now)

    def _attach(self, commit: Commit) -> tuple[tuple[int, ...], tuple[int, ...]]:
        revs = self._attached.store(commit.data)
        offsets = self._attached.delay(commit.delays)
        for delay, offset in zip(commit.delays, offsets, strict=True):
            state = delay.state
            self._queue.delay(delay_key(state.id, offset), state.transition.to, delay.due, state.rev)
        return tuple(revs), tuple(offsets)

    def _write(self, write: Write) -> int:
        self.rev += 1
        state, transition = write.state, write.state.transition
        texts = (transition.text, map_text(state.labels), map_text(state.annotations))
        derived = (transition.status, transition.event, transition.polls)
        exchange = write.exchange
        if state.rev:
            self._update(write, texts, derived)
            if exchange is None:
                return self.rev  # REVISION has made the row of the history
        else:
            exchange = "null" if exchange is None else exchange
            created = write.created or Created(transition.to, "", self.now)
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
        return self.rev

    def _update(self, write: Write, texts: tuple[str, str, str], derived: tuple[str, str, bool]) -> None:
        key = (self.shard, write.state.id)
        query = "SELECT labels FROM stepflow_states WHERE shard = ? AND id = ?"
        last = self.connection.execute(query, key).fetchone()[0]
        self.connection.execute(
            "UPDATE stepflow_states SET rev = ?, transition = ?, labels = ?, annotations = ?, status = ?, event = ?,"
            " polls = ?, committed_at = ?, exchange_rev = ifnull(?, exchange_rev) WHERE shard = ? AND id = ?",
            (self.rev, *texts, *derived, self.now, None if write.exchange is None else self.rev, *key),
        )
        if texts[1] != last:
            self.connection.execute(PAST, key)
            self.connection.execute("DELETE FROM stepflow_labels WHERE shard = ? AND id = ?", key)
            self._label(write)

    def _label(self, write: Write) -> None:
        for name, value in write.state.labels.items():
            self.connection.execute(
                "INSERT INTO stepflow_labels (shard, name, value, id) VALUES (?, ?, ?, ?)",
                (self.shard, name, value, write.state.id),
            )

    def _consume(self, commit: Commit) -> StepflowError | None:
        run_id = "" if commit.fence is None else commit.fence.id
        for seq in dict.fromkeys(commit.consume):
            cursor = self.connection.execute(
                "UPDATE stepflow_events SET taken = 1, payload = ''"
                " WHERE seq = ? AND shard = ? AND run_id = ? AND taken = 0",
                (seq, self.shard, run_id),
            )
            if not cursor.rowcount:
                return NotFound(f"event {seq} of run {run_id!r} is not there any more: read the run again")
        return None

    def _requeue(self, part: Enqueue | Dequeue, epochs: list[int]) -> StepflowError | None:
        rev = self._newest(part.id)
        if rev is None:
            if isinstance(part, Enqueue):
                return _unknown(part.id)
            if self._attached.fire(part.id):
                self._queue.remove(part.id)
        elif isinstance(part, Enqueue) and part.owned:
            epochs.append(self._queue.hold(part, self.owner, rev))
        else:
            self._queue.put(part)
        return None

    def _publish(self, event: Event) -> StepflowError | None:
        if self._newest(event.run_id) is None:
            return _unknown(event.run_id)
        cursor = self.connection.execute(
            "INSERT INTO stepflow_events (shard, run_id, name, id, payload, published_at) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (shard, run_id, id) DO NOTHING",
            (self.shard, event.run_id, event.name, event.id, event.payload, event.published_at),
        )
        if cursor.rowcount:
            self._queue.wake(event.run_id, event.name)
        return None


def _unknown(run_id: str) -> NotFound:
    return NotFound(f"there is no run {run_id!r} in this namespace: start it first")
