"""Puts the statements of a batch together and sends them in one round trip."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import define, field

from stepflow.drivers.port.commit import Commit, CommitResult, Enqueue
from stepflow.drivers.port.step import Member, whole
from stepflow.drivers.port.stored import read_map
from stepflow.drivers.postgres.commit_fast import creations, steps
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.decide import Changes, Numbered, Slot, decide, ids_of
from stepflow.drivers.postgres.delays import data_statements, delay_statements, fire_statements, last_numbers
from stepflow.drivers.postgres.limits import reservations, reserved
from stepflow.drivers.postgres.lock_and_read import BEGIN, RunSnapshot, lock_and_read
from stepflow.drivers.postgres.owners import Owners
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.transactions import Statement, TransactionRunner, fetch_all, pipelined
from stepflow.drivers.postgres.write_changes import event_statements, label_statements, queue_statements
from stepflow.errors import StepflowError

EPOCHS = "select nextval('stepflow.epochs') from generate_series(1, $1)"

Part = tuple[Statement, Sequence[Slot]]
"""A statement, and the writes whose revisions its row brings back."""


@define
class Batch:
    """One call of `commit` on its way, and what is known of its members."""

    members: Sequence[Member]
    now: int
    token: int
    commits: Sequence[Commit] = field(init=False)  # the same, each as a Commit
    problems: dict[int, StepflowError] = field(factory=dict)  # by number of the commit
    drawn: dict[Slot, int] = field(factory=dict)  # revisions, in the order of the commits and their writes
    unseen: bool = True  # the usual members go without a look
    sent: bool = False
    broken: bool = False  # a connection broke: an earlier try may have been done
    last: Mapping[str, int] = field(factory=dict)  # numbers of data and delays given before, if they are locked
    reserved: Mapping[str, str] = field(factory=dict)  # deduplication keys that hold, and the runs started with them
    changes: Changes = field(factory=Changes)  # what was decided last
    epochs: dict[int, tuple[int, ...]] = field(factory=dict)  # of the rows that the committer holds, by commit

    def __attrs_post_init__(self) -> None:
        self.commits = [whole(member) for member in self.members]

    def results(self, revs: Mapping[Slot, int]) -> list[CommitResult]:
        """The answers, in the order of the commits."""
        found: list[CommitResult] = []
        for number, commit in enumerate(self.commits):
            problem = self.problems.get(number)
            made = () if problem else tuple([revs[number, index] for index in range(len(commit.writes))])
            more = self.changes.numbers.get(number, ()) + self.epochs.get(number, ())
            found.append(problem or made + more)
        return found


class Writer:
    """Writes batches of one session; `lock` guards the drawing of revisions and epochs."""

    def __init__(self, runner: TransactionRunner, shards: Shards, owners: Owners, lock: Statement) -> None:
        self._runner, self._shards, self._owners, self._lock = runner, shards, owners, lock
        self._key: int = lock[1][0]  # type: ignore[assignment]

    def lock_and_read(
        self, connection: Connection, batch: Batch, numbers: Iterable[int], *, within: bool = False
    ) -> dict[str, RunSnapshot]:
        """Begin a transaction, unless `within` one, lock what these commits touch, and draw all revisions."""
        commits = [batch.commits[number] for number in numbers]
        ids = [run_id for commit in commits for run_id in ids_of(commit)]
        publishes = [(event.run_id, event.id) for commit in commits for event in commit.publish]
        slots = [(n, index) for n, commit in enumerate(batch.commits) for index in range(len(commit.writes))]
        draws = (self._lock, len(slots)) if slots else None
        runs, revs = lock_and_read(self._runner, connection, self._shards, ids, publishes, draws, within=within)
        batch.drawn = dict(zip(slots, revs, strict=True))
        batch.reserved = reserved(self._runner, connection, self._shards, commits, batch.now)
        if any(commit.resolve or commit.delays or commit.data for commit in commits):
            batch.last = last_numbers(self._runner, connection, self._shards)
        return runs

    def decided(
        self, connection: Connection, numbers: Iterable[int], batch: Batch, runs: Mapping[str, RunSnapshot]
    ) -> list[Part]:
        """What these commits of the batch write, now that their runs were looked at; the others' problems are noted."""
        last = batch.last
        changes = batch.changes = Changes(
            owner=self._owners.me.id,
            last_data=last.get("data", 0),
            last_delay=last.get("delays", 0),
            reserved=dict(batch.reserved),
        )
        labels = {run_id: run.labels for run_id, run in runs.items() if run.rev}
        batch.problems.clear()
        for number in numbers:
            revs = [batch.drawn[number, index] for index in range(len(batch.commits[number].writes))]
            problem = decide(batch.commits[number], number, runs, batch.now, changes, revs)
            if problem is not None:
                batch.problems[number] = problem
        self._hold(connection, batch, runs)
        relabelled = [(write, read_map(labels[write.state.id])) for _slot, write in changes.steps]
        others = (
            label_statements(self._shards, relabelled)
            + event_statements(self._shards, changes)
            + queue_statements(self._shards, runs, batch.now)
            + fire_statements(self._shards, runs)
            + data_statements(self._shards, changes.data, batch.token)
            + delay_statements(self._shards, changes.delays, batch.now, batch.token)
            + reservations(self._shards, changes.dedup)
            + ([self._owners.appearing()] if changes.held else [])
        )
        return self.revisions(changes, batch, runs) + [(statement, ()) for statement in others]

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

    def revisions(self, changes: Changes, batch: Batch, runs: Mapping[str, RunSnapshot] | None) -> list[Part]:
        """The statements that make revisions; `runs` None: unseen."""
        found: list[Part] = []
        unseen = runs is None
        for shard, part in self._split(changes.steps):
            if runs is None:
                epochs = [_epoch(batch.commits[slot[0]]) for slot, _write in part]
            else:
                epochs = [runs[write.state.id].epoch for _slot, write in part]
            writes = [write for _slot, write in part]
            revs = [batch.drawn.get(slot) for slot, _write in part]
            statement = steps(shard, writes, epochs, revs, batch.now, batch.token, self._key, unseen=unseen)
            found.append((statement, [slot for slot, _write in part]))
        for shard, part in self._split(changes.creations):
            rows = [_row(batch.commits[slot[0]]) if unseen else None for slot, _write in part]
            writes = [write for _slot, write in part]
            revs = [batch.drawn.get(slot) for slot, _write in part]
            statement = creations(shard, writes, rows, revs, batch.now, batch.token, self._key, unseen=unseen)
            found.append((statement, [slot for slot, _write in part]))
        return found

    def _split(self, numbered: Sequence[Numbered]) -> list[tuple[str, Sequence[Numbered]]]:
        if self._shards.number == 1:
            return [(self._shards.all[0], numbered)] if numbered else []
        parts: dict[str, list[Numbered]] = {}
        for one in numbered:
            parts.setdefault(self._shards.of(one[1].state.id), []).append(one)
        return sorted(parts.items())

    def execute(self, connection: Connection, parts: Sequence[Part], *, begun: bool) -> dict[Slot, int]:
        """Send everything in one round trip, up to COMMIT, and BEGIN unless that was done; the new revisions by slot.

        Several statements need an explicit transaction: an exception here in the middle must not commit what was sent.
        """
        sql = self._runner.sql
        if len(parts) == 1 and not begun and parts[0][1]:  # it takes the lock itself
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


def _epoch(commit: Commit) -> int | None:
    return None if commit.fence is None else commit.fence.epoch


def _row(commit: Commit) -> Enqueue | None:
    """The queue row of a birth."""
    part = commit.queue[0] if commit.queue else None
    return part if isinstance(part, Enqueue) else None
