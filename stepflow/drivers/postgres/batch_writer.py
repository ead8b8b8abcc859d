"""Puts the statements of a batch together and sends them in one round trip."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from attrs import define, field

from stepflow.drivers.port.commit import Commit, CommitResult, Committed, Enqueue
from stepflow.drivers.port.rules import (
    Changes,
    NumberedWrite,
    Slot,
    decide_commit,
    ids_of,
    pending_ids_of,
    publishes_of,
)
from stepflow.drivers.port.schedules import ScheduleRow
from stepflow.drivers.port.snapshot import RunSnapshot
from stepflow.drivers.port.step import Append, Member, Step, step_of_write, whole
from stepflow.drivers.port.stored import read_map
from stepflow.drivers.postgres.change_judge import MOVE
from stepflow.drivers.postgres.commit_apart import creations_apart, steps_apart
from stepflow.drivers.postgres.commit_fast import creations, steps
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.delays import LARGEST, data_statements, delay_statements, fire_statements, last_numbers
from stepflow.drivers.postgres.journal import append_statements, journal_statements
from stepflow.drivers.postgres.limits import reservations, reserved
from stepflow.drivers.postgres.lock_and_read import BEGIN, EPOCHS, drawn_epochs, lock_and_read
from stepflow.drivers.postgres.owners import PostgresOwners
from stepflow.drivers.postgres.pauses import pause_statements
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.schedules import lock_schedules, schedule_statements
from stepflow.drivers.postgres.transactions import Statement, TransactionRunner, fetch_all, pipelined
from stepflow.drivers.postgres.write_changes import epochs_needed, event_statements, label_statements, queue_statements
from stepflow.errors import StepflowError

Part = tuple[Statement, Sequence[Slot]]
"""A statement, and the writes whose revisions its row brings back."""


@define
class Batch:
    """One call of `commit` on its way, and what is known of its members."""

    members: Sequence[Member]
    now: int
    token: int
    problems: dict[int, StepflowError] = field(factory=dict)  # by number of the commit
    drawn: dict[Slot, int] = field(factory=dict)  # revisions, in the order of the commits and their writes
    unseen: bool = True  # the usual members go without a look
    sent: bool = False
    broken: bool = False  # a connection broke: an earlier try may have been done
    last: Mapping[str, int] = field(factory=dict)  # numbers of data and delays given before, if they are locked
    reserved: Mapping[str, str] = field(factory=dict)  # deduplication keys that hold, and the runs started with them
    schedules: Mapping[str, ScheduleRow | None] = field(factory=dict)  # those that are changed, as they are
    changes: Changes = field(factory=Changes)  # what was decided last
    epochs: dict[int, tuple[int, ...]] = field(factory=dict)  # of the rows that the committer holds, by commit

    @cached_property
    def commits(self) -> Sequence[Commit]:
        """The members, each as a Commit; steps that go unseen are not asked for it."""
        return [whole(member) for member in self.members]

    def results(self, revs: Mapping[Slot, int]) -> list[CommitResult]:
        """The answers, in the order of the commits."""
        found: list[CommitResult] = []
        for number, member in enumerate(self.members):
            problem = self.problems.get(number)
            if problem is not None:
                found.append(problem)
            elif type(member) is Step:
                found.append((revs[number, 0], self.now, *self.epochs.get(number, ())))
            else:
                made = tuple([revs[number, index] for index in range(len(self.commits[number].writes))])
                data_revs, offsets = self.changes.numbers.get(number, ((), ()))
                found.append(Committed(made, data_revs, offsets, self.epochs.get(number, ()), self.now))
        return found


class Writer:
    """Writes batches of one session; `lock` guards the drawing of revisions and epochs."""

    def __init__(self, runner: TransactionRunner, shards: Shards, owners: PostgresOwners, lock: Statement) -> None:
        self._runner, self._shards, self._owners, self._lock = runner, shards, owners, lock
        self._key: int = lock[1][0]  # type: ignore[assignment]

    def lock_and_read(
        self, connection: Connection, batch: Batch, numbers: Iterable[int], *, within: bool = False
    ) -> dict[str, RunSnapshot]:
        """Begin a transaction, unless `within` one, lock what these commits touch, and draw all revisions."""
        commits = [batch.commits[number] for number in numbers]
        ids = [run_id for commit in commits for run_id in ids_of(commit)]
        publishes = [one for commit in commits for one in publishes_of(commit)]
        pending = {run_id for commit in commits for run_id in pending_ids_of(commit)}
        slots = [(n, index) for n, commit in enumerate(batch.commits) for index in range(len(commit.writes))]
        draws = (self._lock, len(slots)) if slots else None
        runs, revs = lock_and_read(
            self._runner, connection, self._shards, ids, publishes, pending, draws, within=within
        )
        batch.drawn = dict(zip(slots, revs, strict=True))
        batch.reserved = reserved(self._runner, connection, self._shards, commits, batch.now)
        batch.schedules = lock_schedules(self._runner, connection, self._shards, commits)
        if any(commit.placeholders or commit.delays or commit.data for commit in commits):
            batch.last = last_numbers(self._runner, connection, self._shards)
        return runs

    def decided(
        self, connection: Connection, numbers: Iterable[int], batch: Batch, runs: Mapping[str, RunSnapshot]
    ) -> list[Part]:
        """The statements that write what the rules decide about these commits of the batch; refusals are noted."""
        last = batch.last
        changes = batch.changes = Changes(
            owner=self._owners.me.id,
            store="postgresql://",
            largest_blob=LARGEST,
            last_data=last.get("data", 0),
            last_delay=last.get("delays", 0),
            reserved=dict(batch.reserved),
            schedules=dict(batch.schedules),
        )
        labels = {run_id: run.labels for run_id, run in runs.items() if run.rev}
        batch.problems.clear()
        for number in numbers:
            revs = [batch.drawn[number, index] for index in range(len(batch.commits[number].writes))]
            problem = decide_commit(batch.commits[number], number, runs, batch.now, changes, revs)
            if problem is not None:
                batch.problems[number] = problem
        self._hold(connection, batch, runs)
        for run in runs.values():
            run.polls = False  # its State gets the epoch, as other things of it may change
        epochs = drawn_epochs(self._runner, connection, epochs_needed(runs) + len(changes.delays))
        relabelled = [
            (write, read_map(labels[write.state.id])) for _slot, write, creates in changes.writes if not creates
        ]
        others = (
            label_statements(self._shards, relabelled)
            + event_statements(self._shards, changes)
            + journal_statements(self._shards, changes, batch.token)
            + queue_statements(self._shards, runs, batch.now, epochs)
            + fire_statements(self._shards, runs)
            + data_statements(self._shards, changes.data, batch.token)
            + delay_statements(self._shards, changes.delays, batch.now, batch.token, epochs)
            + reservations(self._shards, changes.reserves)
            + schedule_statements(self._shards, changes.scheduled)
            + pause_statements(self._shards, changes.flow_pauses)
            + ([self._owners.appearing()] if changes.held else [])
            + ([MOVE] if changes.scheduled or changes.flow_pauses else [])
        )
        return self.revisions(changes.writes, batch, runs) + [(statement, ()) for statement in others]

    def _hold(self, connection: Connection, batch: Batch, runs: Mapping[str, RunSnapshot]) -> None:
        """Draw the epochs of the rows that the committer holds from now on."""
        held = batch.changes.held
        batch.epochs.clear()
        if not held:
            return
        _locked, rows = fetch_all(connection, self._lock, (self._runner.sql(EPOCHS), (len(held),)))
        for (number, run_id), (epoch,) in zip(held, rows, strict=True):
            run = runs[run_id]
            assert run.row is not None
            run.row = run.row._replace(epoch=epoch)
            batch.epochs[number] = (*batch.epochs.get(number, ()), epoch)

    def revisions(self, made: Sequence[NumberedWrite], batch: Batch, runs: Mapping[str, RunSnapshot]) -> list[Part]:
        """The statements that make these revisions, which were decided."""
        found: list[Part] = []
        parts: defaultdict[tuple[str, bool], list[NumberedWrite]] = defaultdict(list)
        for one in made:
            parts[self._shards.of(one.write.state.id), one.creates].append(one)
        for (shard, creates), part in sorted(parts.items()):
            slots, writes = [one.slot for one in part], [one.write for one in part]
            drawn = [batch.drawn[slot] for slot in slots]
            epochs = [_state_epoch(runs[write.state.id]) for write in writes]
            if self._runner.place.citus:
                apart = (
                    creations_apart(shard, writes, drawn, batch.now, batch.token)
                    if creates
                    else steps_apart(shard, writes, epochs, drawn, batch.now, batch.token)
                )
                found += [(statement, ()) for statement in apart]
                continue
            more = (drawn, batch.now, batch.token, self._key)
            if creates:
                found.append((creations(shard, writes, [None] * len(writes), *more, unseen=False), slots))
            else:
                found.append(
                    (steps(shard, [step_of_write(write) for write in writes], epochs, *more, unseen=False), slots)
                )
        return found

    def unseen(self, made: Mapping[int, Step], created: Mapping[int, Commit], batch: Batch) -> list[Part]:
        """The statements that make these steps and creations, given by their numbers; their runs have not been read."""
        found: list[Part] = []
        for shard, numbers in self._by_shard({number: step.id for number, step in made.items()}):
            members = [made[number] for number in numbers]
            slots = [(number, 0) for number in numbers]
            revs = [batch.drawn.get(slot) for slot in slots]
            epochs = [step.epoch for step in members]
            more = (batch.now, batch.token, self._key)
            found.append((steps(shard, members, epochs, revs, *more, unseen=True), slots))
        for shard, numbers in self._by_shard({number: one.writes[0].state.id for number, one in created.items()}):
            commits = [created[number] for number in numbers]
            slots = [(number, 0) for number in numbers]
            revs = [batch.drawn.get(slot) for slot in slots]
            writes, rows = [one.writes[0] for one in commits], [_row(one) for one in commits]
            more = (batch.now, batch.token, self._key)
            found.append((creations(shard, writes, rows, revs, *more, unseen=True), slots))
        return found

    def _by_shard(self, ids: Mapping[int, str]) -> list[tuple[str, list[int]]]:
        """The numbers of the runs, by shard."""
        if self._shards.number == 1:
            return [(self._shards.all[0], list(ids))] if ids else []
        parts: defaultdict[str, list[int]] = defaultdict(list)
        for number, run_id in ids.items():
            parts[self._shards.of(run_id)].append(number)
        return sorted(parts.items())

    def appends(self, appends: Sequence[Append], batch: Batch) -> list[Part]:
        """The statements that write journal rows, unseen."""
        return [(statement, ()) for statement in append_statements(self._shards, appends, batch.now, batch.token)]

    def execute(self, connection: Connection, parts: Sequence[Part], *, begun: bool) -> dict[Slot, int]:
        """Send everything in one round trip, up to COMMIT, and BEGIN unless that was done; the revisions drawn in it by slot.

        Several statements need an explicit transaction: an exception here in the middle must not commit what was sent.
        """
        sql = self._runner.sql
        if len(parts) == 1 and not begun:  # it takes the lock itself if it makes revisions
            ((text, values), _slots) = parts[0]
            cursors = [connection.execute(sql(text), values, prepare=True)]
        else:
            before = [self._lock] if begun else [(BEGIN, ()), self._lock]
            with pipelined(connection):
                for text, values in before:
                    connection.execute(text, values, prepare=True)
                cursors = [connection.execute(sql(text), values, prepare=True) for (text, values), _slots in parts]
                connection.execute("commit", prepare=True)
        revs: dict[Slot, int] = {}
        for cursor, (_statement, slots) in zip(cursors, parts, strict=True):
            if slots:
                revs.update(zip(slots, cursor.fetchall()[0][0], strict=True))
        return revs


def _state_epoch(run: RunSnapshot) -> int | None:
    """The epoch of its State; of a run that is to be paused it is none by which a commit could go unseen, see `write_changes.MARK`."""
    held = run.paused and run.row is not None and run.row.owner != "" and not run.placed
    return -run.epoch if held and run.epoch is not None else run.epoch


def _row(commit: Commit) -> Enqueue | None:
    """The queue row of a creation."""
    part = commit.queue[0] if commit.queue else None
    return part if isinstance(part, Enqueue) else None
