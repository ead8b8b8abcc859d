"""Finds out what is between a session and the server, from how it behaves: nothing, or a pooler, and of which mode.

A pooler answers with a key of its own when a connection is made, so the process number that the client library was told
is not that of the server's process. In transaction mode a connection that is idle holds no server process: another one gets
it, or the next statement goes to a different one.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define

from stepflow.drivers.postgres.connection import PostgresConnection as Connection

PID = "select pg_backend_pid()"
ROUNDS = 3  # of two looks each: other clients of the pooler may take the server's processes between them


@define
class Route:
    """What the first connection of a driver found: `direct` without a pooler, `per_transaction` with one of that mode."""

    known: bool = False
    direct: bool = True
    per_transaction: bool = False

    def explore(self, connection: Connection, connect: Callable[[], Connection], *, asked: bool) -> None:
        """Find out, with this idle connection and another one; the mode only if it is `asked` for."""
        direct = _pid(connection) == connection.info.backend_pid
        self.per_transaction = asked and not direct and _gives_transactions(connection, connect)
        self.direct, self.known = direct, True


def _gives_transactions(connection: Connection, connect: Callable[[], Connection]) -> bool:
    """Whether the pooler of this connection, which is idle, assigns server processes per transaction."""
    mine = _pid(connection)
    with connect() as other:
        for _round in range(ROUNDS):
            other.execute("begin", prepare=False)
            if _pid(other) == mine or _pid(connection) != mine:
                return True
            other.execute("commit", prepare=False)
            if _pid(connection) != mine:
                return True
    return False


def _pid(connection: Connection) -> int:
    row = connection.execute(PID, prepare=False).fetchone()
    return int(row[0]) if row else 0
