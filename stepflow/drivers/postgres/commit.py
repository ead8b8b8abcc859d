"""Makes commits durable: the usual ones at once in a constant number of statements, the others after a look.

Optimistic first: steps and creations go to the server unseen, in one round trip; if one of them does not fit, the server
takes all back. Then every run of the batch is locked and looked at, and each commit gets its own answer. Values that
cannot be stored make the batch fall apart into halves, until the one to blame is alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import psycopg

from stepflow.drivers.port.commit import Commit, CommitResult
from stepflow.drivers.port.step import Append, Member, Step, is_creation
from stepflow.drivers.postgres.arrays import numbers, restored, texts
from stepflow.drivers.postgres.batch_writer import Batch, Writer
from stepflow.drivers.postgres.commit_fast import fits_creation, fits_step
from stepflow.drivers.postgres.connection import ANSWER_S, LONG_ANSWER_S
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.delays import KEPT
from stepflow.drivers.postgres.errors import Lost, concerns_member, is_stale, member_error, translate
from stepflow.drivers.postgres.journal import fits_append, kept
from stepflow.drivers.postgres.lock_and_read import BEGIN, InboxNotEmpty
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.tokens import Tokens
from stepflow.drivers.postgres.transactions import TransactionRunner, fetch_all, roll_back
from stepflow.errors import OutcomeUnknown, StoreError, Unavailable

MADE = "select id, rev from stepflow.history where shard = any($1::text[]) and rev > $2 and token = $3"
LARGE = 8 << 20  # bytes of data for which the server may need longer than for an answer


class Commits:
    """The commits of one session; `apply_inbox` applies what callers posted, `hold` is told of epochs of rows that they hold.

    `polling` are epochs that only queue rows have: the first step under such a one makes its State know it.
    """

    def __init__(
        self,
        runner: TransactionRunner,
        shards: Shards,
        tokens: Tokens,
        writer: Writer,
        apply_inbox: Callable[[], None],
        hold: Callable[[int], None],
        polling: set[int],
    ) -> None:
        self._runner, self._shards, self._tokens, self._writer = runner, shards, tokens, writer
        self._apply_inbox, self._hold, self._polling = apply_inbox, hold, polling

    def commit(self, batch: Sequence[Member], now: int) -> list[CommitResult]:
        """Apply the commits and answer each."""
        if not batch:
            return []
        try:
            # On Citus no statement can both draw revisions and write them.
            return self._whole(Batch(batch, now, self._tokens.next(), unseen=not self._runner.place.citus))
        except Exception as error:
            if not concerns_member(error):
                raise
            if len(batch) == 1:
                return [member_error(error)]
        half = len(batch) // 2
        return self.commit(batch[:half], now) + self.commit(batch[half:], now)

    def commit_within(self, connection: Connection, member: Member, now: int) -> CommitResult:
        """Decide a member in the transaction that is open, and commit that; rolled back if the member is refused.

        Raises psycopg's errors, or OutcomeUnknown; Unavailable if nothing was written.
        """
        batch = Batch([member], now, self._tokens.next(), unseen=False)
        try:
            runs = self._writer.lock_and_read(connection, batch, [0], within=True)
            parts = self._writer.decided(connection, [0], batch, runs)
            if batch.problems:
                return batch.problems[0]
            self._hold(max((0, *batch.epochs.get(0, ()))))
            batch.sent = True
            revs = self._writer.execute(connection, parts, begun=True) or batch.drawn
        except psycopg.Error as error:
            if not batch.sent or not connection.closed:
                raise
            return self._after_lost_answer(batch, error)
        self._tokens.newest = max([self._tokens.newest, *revs.values()])
        return batch.results(revs)[0]

    def _after_lost_answer(self, batch: Batch, error: psycopg.Error) -> CommitResult:
        """The answer to a commit within a transaction whose connection broke."""

        def look(connection: Connection) -> list[CommitResult]:
            try:
                connection.execute(BEGIN)
                self._writer.lock_and_read(
                    connection, batch, [0], within=True
                )  # waits until that transaction has ended
                return self._made(connection, batch) or []
            finally:
                roll_back(connection)

        self._runner.pool.forget()
        try:
            found = self._runner.run(look)
        except StoreError as trouble:
            raise OutcomeUnknown(f"{trouble}; the connection broke inside COMMIT, read the runs again") from trouble
        if not found:
            raise translate(Lost(str(error)), self._runner.place.url) from error
        return found[0]

    def _whole(self, batch: Batch) -> list[CommitResult]:
        size = sum(len(data.blob) for one in batch.members if type(one) is Commit for data in one.data)
        answer_s = LONG_ANSWER_S if size > LARGE else ANSWER_S
        while True:
            try:
                return self._runner.run(
                    lambda c: self._try(c, batch), lambda c: self._after_break(c, batch), answer_s=answer_s
                )
            except InboxNotEmpty:
                self._apply_inbox()

    def _try(self, connection: Connection, batch: Batch) -> list[CommitResult]:
        tries = self._runner.pauses()
        while True:
            try:
                return self._send(connection, batch)
            except psycopg.Error as error:
                if not is_stale(error) or connection.closed:
                    raise
                roll_back(connection)
            if batch.unseen:
                batch.unseen = False  # the next try is made at once: it locks and reads the runs
            elif next(tries, None) is None:
                raise Unavailable(
                    f"{self._runner.place.url}: others keep starting the same runs; nothing was written, try again"
                )

    def _after_break(self, connection: Connection, batch: Batch) -> list[CommitResult] | None:
        """The answers if the batch was done before its connection broke."""
        batch.broken = True
        return self._made(connection, batch) if batch.sent else None

    def _made(self, connection: Connection, batch: Batch) -> list[CommitResult] | None:
        key = (texts(self._shards.all), self._tokens.newest, batch.token)
        revs = {restored(row[0]): row[1] for row in connection.execute(self._runner.sql(MADE), key)}
        slots = {
            (number, index): revs[write.state.id]
            for number, commit in enumerate(batch.commits)
            for index, write in enumerate(commit.writes)
            if write.state.id in revs and number not in batch.problems
        }
        return batch.results(slots) if slots or self._kept(connection, batch) else None

    def _kept(self, connection: Connection, batch: Batch) -> bool:
        """Whether data, delays or journal rows of the last try are there."""
        data, delays = batch.changes.data, batch.changes.delays
        if kept(self._runner, connection, self._shards, batch.changes, batch.token):
            return True
        if not data and not delays:
            return False
        keys = zip(KEPT, (numbers(data), numbers(delays)), strict=True)
        asked = [(self._runner.sql(text), (texts(self._shards.all), some, batch.token)) for text, some in keys]
        return any(fetch_all(connection, *asked))

    def _send(self, connection: Connection, batch: Batch) -> list[CommitResult]:
        steps, appends, created = dict[int, Step](), list[Append](), dict[int, Commit]()
        rest = _sorted_out(batch, steps, appends, created, self._polling)
        batch.drawn.clear()
        runs = self._writer.lock_and_read(connection, batch, rest) if rest else {}
        if rest and batch.broken and (done := self._made(connection, batch)) is not None:
            return done
        parts = self._writer.unseen(steps, created, batch) + self._writer.appends(appends, batch)
        if rest:
            parts += self._writer.decided(connection, rest, batch, runs)
            self._hold(max((0, *(max(epochs) for epochs in batch.epochs.values()))))
        batch.sent = True
        revs = self._writer.execute(connection, parts, begun=bool(rest)) or batch.drawn
        self._tokens.newest = max([self._tokens.newest, *revs.values()])
        return batch.results(revs)


def _sorted_out(
    batch: Batch,
    steps: dict[int, Step],
    appends: list[Append],
    created: dict[int, Commit],
    polling: Collection[int],
) -> list[int]:
    """Note the usual steps, Appends and creations, which may go unseen; the numbers of the other members."""
    if not batch.unseen:
        return list(range(len(batch.members)))
    rest = []
    for number, member in enumerate(batch.members):
        if type(member) is Step:
            if member.epoch not in polling and fits_step(member):
                steps[number] = member
                continue
        elif type(member) is Append:
            if member.epoch not in polling and fits_append(member):
                appends.append(member)
                continue
        elif type(member) is Commit and is_creation(member) and fits_creation(member):
            created[number] = member
            continue
        rest.append(number)
    return rest
