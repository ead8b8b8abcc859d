"""The settled head: the revision up to which nothing can appear any more.

Whoever draws a revision holds a shared advisory lock until its transaction ends. A number read from the sequence is
settled when none of those who held the lock right after that reading holds it still.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event, Lock
from typing import Any

from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.transactions import Statement, TransactionRunner, fetch_all

LAST = "select last_value, is_called from stepflow.revs"
# The lock's 64-bit key is shown in two halves.
HOLDERS = (
    "select virtualtransaction from pg_locks where locktype = 'advisory' and objsubid = 1 and granted"
    " and database = (select oid from pg_database where datname = current_database())"
    " and classid::bigint = $1 and objid::bigint = $2"
)


def halves(key: int) -> tuple[int, int]:
    """A lock's key as the server lists it."""
    return (key >> 32) & 0xFFFFFFFF, key & 0xFFFFFFFF


NEWEST = "select rev from stepflow.history where shard = $1 and rev <= $2 order by rev desc limit 1"
FLOOR = "select value from stepflow.meta where name = 'floor'"
PAUSE_S, PAUSES = 0.002, 250  # how long a reader waits for those that are on their way, at most


class VisibleRev:
    """The settled head of one store, as far as this session knows it."""

    def __init__(self, runner: TransactionRunner, key: int) -> None:
        self._runner = runner
        self._halves = halves(key)
        self._guard = Lock()
        self._settled = 0
        self._wanted = 0
        self._awaited: set[object] = set()
        self._pause = Event()

    def asking(self) -> list[Statement]:
        """The statements whose rows `judge` wants, in this order."""
        return [(self._runner.sql(LAST), ()), (HOLDERS, self._halves)]

    def judge(self, last: list[Any], holders: list[Any]) -> int:
        """The settled head, from the rows of `asking`."""
        return self._judge(_drawn(last), {row[0] for row in holders})

    def newest(self, connection: Connection, shards: Sequence[str], settled: int) -> int:
        """The newest revision of these shards up to the settled head, or that of a run that was pruned since."""
        sql = self._runner.sql
        looks = [(sql(NEWEST), (shard, settled)) for shard in shards]
        return max(int(row[0]) for rows in (*fetch_all(connection, (sql(FLOOR), ()), *looks), [(0,)]) for row in rows)

    def look(self, connection: Connection) -> int:
        """The settled head as of now."""
        last, holders = fetch_all(connection, *self.asking())
        return self.judge(last, holders)

    def _judge(self, last: int, holders: set[object]) -> int:
        with self._guard:
            self._awaited &= holders
            if not self._awaited:
                self._settled = max(self._settled, self._wanted)
                self._wanted, self._awaited = last, holders
                if not holders:
                    self._settled = max(self._settled, last)
            return self._settled

    def settle(self, connection: Connection) -> int:
        """The head up to what is committed now: waits for those that are on their way, but not for ever."""
        last, holders = fetch_all(connection, *self.asking())
        goal, settled = _drawn(last), self.judge(last, holders)
        for _turn in range(PAUSES):
            if settled >= goal or self._pause.wait(PAUSE_S):
                break
            settled = self.look(connection)
        return settled

    def close(self) -> None:
        """Let nobody wait any more."""
        self._pause.set()


def _drawn(last: list[Any]) -> int:
    """The last number drawn from a sequence."""
    value, called = last[0]
    return int(value) if called else 0
