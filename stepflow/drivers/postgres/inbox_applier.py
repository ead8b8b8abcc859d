"""Applies what callers posted: in order, each whole or not at all, and exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from stepflow.drivers.port.commit import Commit, Record
from stepflow.drivers.port.inbox import UNREADABLE, conflict, ending, is_made, is_readable, log_conflict, parse
from stepflow.drivers.port.queries import PostConflict
from stepflow.drivers.postgres.arrays import restored, stored, texts
from stepflow.drivers.postgres.batch_writer import Batch, Part, Writer
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.errors import concerns_member, member_error
from stepflow.drivers.postgres.inbox import AGAIN, CONFLICT, DONE, MADE, NEWEST, OLDEST, UNREAD
from stepflow.drivers.postgres.lock_and_read import BEGIN, lock_and_read
from stepflow.drivers.postgres.query import LOAD, read_run
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.tokens import Tokens
from stepflow.drivers.postgres.transactions import TransactionRunner
from stepflow.errors import CodecError, StepflowError
from stepflow.model.family import PARENT

MANY = 1000
Posted = tuple[int, Commit, int]
"""The number of a posted commit, the commit, and the time as of which it takes place."""


class InboxApplier:
    """Empties the inbox of one namespace."""

    def __init__(self, runner: TransactionRunner, shards: Shards, tokens: Tokens, writer: Writer) -> None:
        self._runner, self._shards, self._tokens, self._writer = runner, shards, tokens, writer
        self._posted_again = set[str]()  # the shards in which that was done

    def __call__(self) -> None:
        for shard in self._shards.all:
            if shard not in self._posted_again:
                self._runner.run(partial(self._post_again, shard))
                self._posted_again.add(shard)
            many = MANY
            while many := self._turn(shard, many):
                pass

    def _post_again(self, shard: str, connection: Connection) -> None:
        """Put what can be read now, and could not by those who took it out of the inbox, back into its place: they were of older versions."""
        connection.execute(BEGIN)
        rows = connection.execute(self._runner.sql(UNREAD), (shard, UNREADABLE)).fetchall()
        if seqs := [seq for seq, body in rows if is_readable(restored(body))]:
            for statement in AGAIN:
                connection.execute(self._runner.sql(statement), (shard, seqs))
        connection.execute("commit")

    def _turn(self, shard: str, many: int) -> int:
        """Apply up to so many; how many may be applied next, 0 when there is nothing left."""
        try:
            return many if self._runner.run(lambda c: self._apply(c, shard, many)) else 0
        except Exception as error:
            if not concerns_member(error):
                raise
            if many == 1:
                refusal = member_error(error)
                self._runner.run(lambda c: self._refuse(c, shard, refusal))
            return 1

    def _apply(self, connection: Connection, shard: str, many: int) -> bool:
        found = self._begin(connection, shard, many)
        if not found:
            connection.execute("rollback")
            return False
        seq, first, at = found[0]
        if isinstance(first, CodecError):
            newest = connection.execute(self._runner.sql(NEWEST), (shard,)).fetchone()
            unread = (seq, Commit(), newest[0] if newest else 0)
            self._end(connection, shard, [unread], [(unread, first)])
            return True
        if first.cancel:
            self._cancel(connection, shard, (seq, first, at))
            return True
        rows = list[Posted]()
        for seq, commit, at in found:
            if isinstance(commit, CodecError) or commit.cancel:
                break
            rows.append((seq, commit, at))
        self._write(connection, shard, rows, [commit for _seq, commit, _at in rows])
        return True

    def _begin(self, connection: Connection, shard: str, many: int) -> list[tuple[int, Commit | CodecError, int]]:
        """Begin a transaction and lock the oldest rows."""
        connection.execute(BEGIN)
        rows = connection.execute(self._runner.sql(OLDEST), (shard, many)).fetchall()
        return [(seq, *_parsed(restored(body))) for seq, body in rows]

    def _cancel(self, connection: Connection, shard: str, row: Posted) -> None:
        """Apply a cancel: what it does depends on whether the run is held."""
        (cancel,) = row[1].cancel
        record = self._load(connection, shard, cancel.id)
        parent = "" if record is None else record.state.labels.get(PARENT, "")
        ids = [cancel.id, parent] if parent else [cancel.id]  # in the order in which other commits lock them
        lock_and_read(self._runner, connection, self._shards, ids, within=True)
        commit = ending(self._load(connection, shard, cancel.id), cancel.id, row[2])
        if isinstance(commit, Commit):
            self._write(connection, shard, [row], [commit])
        else:
            self._end(connection, shard, [row], [] if commit is None else [(row, commit)])

    def _load(self, connection: Connection, shard: str, run_id: str) -> Record | None:
        found = connection.execute(self._runner.sql(LOAD), (shard, texts([run_id]))).fetchall()
        return read_run(found[0])[1] if found else None

    def _write(self, connection: Connection, shard: str, rows: Sequence[Posted], commits: Sequence[Commit]) -> None:
        """Apply these commits, which the rows stand for."""
        numbers = range(len(rows))
        batch = Batch(commits, max(at for _seq, _commit, at in rows), self._tokens.next())
        runs = self._writer.lock_and_read(connection, batch, numbers, within=True)
        decided = self._writer.decided(connection, numbers, batch, runs)
        self._end(connection, shard, rows, [(rows[n], problem) for n, problem in batch.problems.items()], decided)

    def _refuse(self, connection: Connection, shard: str, refusal: StepflowError) -> None:
        """The oldest row cannot be stored."""
        rows = self._begin(connection, shard, 1)
        refused = [(seq, Commit() if isinstance(commit, CodecError) else commit, at) for seq, commit, at in rows]
        self._end(connection, shard, refused, [(row, refusal) for row in refused])

    def _end(
        self,
        connection: Connection,
        shard: str,
        rows: Sequence[Posted],
        refused: Sequence[tuple[Posted, StepflowError]],
        parts: Sequence[Part] = (),
    ) -> None:
        """Send `parts`, note which rows could not take place, delete them all and commit."""
        conflicts = self._conflicts(connection, shard, rows, refused) if refused else {}
        noted: list[Part] = [
            ((CONFLICT, (shard, seq, stored(one.run_id), one.posted, stored(one.reason), one.at)), ())
            for seq, one in conflicts.items()
        ]
        done: Part = ((DONE, (shard, [seq for seq, _commit, _at in rows])), ())
        self._writer.execute(connection, [*parts, *noted, done], begun=True)
        for one in conflicts.values():
            log_conflict(one)

    def _conflicts(
        self,
        connection: Connection,
        shard: str,
        rows: Sequence[Posted],
        refused: Sequence[tuple[Posted, StepflowError]],
    ) -> dict[int, PostConflict]:
        """The refused ones but for starts of runs that exist as they would be made, some of them by the same rows."""
        ids = [write.state.id for (_seq, commit, _at), _refusal in refused for write in commit.writes]
        found = connection.execute(self._runner.sql(MADE), (shard, [stored(run_id) for run_id in ids])).fetchall()
        made = {restored(run_id): (restored(flow), input_hash) for run_id, flow, input_hash in found}
        bad = {row[0] for row, _refusal in refused}
        for seq, commit, _at in rows:
            for write in commit.writes if seq not in bad else ():
                if write.created is not None:
                    made[write.state.id] = (write.created.flow, write.created.input_hash)
        return {
            seq: conflict(commit, refusal, at)
            for (seq, commit, at), refusal in refused
            if not is_made(commit, made.get)
        }


def _parsed(body: str) -> tuple[Commit | CodecError, int]:
    """The commit of a posted text, and its time; or why it cannot be read."""
    try:
        return parse(body)
    except CodecError as error:
        return error, 0
