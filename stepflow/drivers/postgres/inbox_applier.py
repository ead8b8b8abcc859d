"""Applies what callers posted: in order, each whole or not at all, and exactly once."""

from __future__ import annotations

import logging

from stepflow.drivers.port.inbox import parse
from stepflow.drivers.postgres.arrays import restored
from stepflow.drivers.postgres.batch_writer import Batch, Part, Writer
from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.errors import concerns_member, member_error
from stepflow.drivers.postgres.inbox import DONE, OLDEST
from stepflow.drivers.postgres.lock_and_read import BEGIN
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.tokens import Tokens
from stepflow.drivers.postgres.transactions import TransactionRunner

MANY = 1000
log = logging.getLogger("stepflow")


class InboxApplier:
    """Empties the inbox of one namespace."""

    def __init__(self, runner: TransactionRunner, shards: Shards, tokens: Tokens, writer: Writer) -> None:
        self._runner, self._shards, self._tokens, self._writer = runner, shards, tokens, writer

    def __call__(self) -> None:
        for shard in self._shards.all:
            many = MANY
            while many := self._turn(shard, many):
                pass

    def _turn(self, shard: str, many: int) -> int:
        """Apply up to so many; how many may be applied next, 0 when there is nothing left."""
        try:
            return many if self._runner.run(lambda c: self._apply(c, shard, many)) else 0
        except Exception as error:
            if not concerns_member(error):
                raise
            if many == 1:
                log.error("a posted start or publish cannot be stored and is dropped: %s", member_error(error))
                self._runner.run(lambda c: self._drop(c, shard))
            return 1

    def _apply(self, connection: Connection, shard: str, many: int) -> bool:
        connection.execute(BEGIN)
        rows = connection.execute(self._runner.sql(OLDEST), (shard, many)).fetchall()
        if not rows:
            connection.execute("rollback")
            return False
        posted = [parse(restored(body)) for _seq, body in rows]
        batch = Batch([commit for commit, _at in posted], max(at for _commit, at in posted), self._tokens.next())
        runs = self._writer.lock_and_read(connection, batch, range(len(rows)), within=True)
        done: Part = ((DONE, (shard, [seq for seq, _body in rows])), ())
        self._writer.execute(
            connection, [*self._writer.decided(connection, range(len(rows)), batch, runs), done], begun=True
        )
        return True

    def _drop(self, connection: Connection, shard: str) -> None:
        connection.execute(BEGIN)
        rows = connection.execute(self._runner.sql(OLDEST), (shard, 1)).fetchall()
        connection.execute(self._runner.sql(DONE), (shard, [seq for seq, _body in rows]))
        connection.execute("commit")
