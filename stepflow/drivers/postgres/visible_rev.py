"""The visible revision: no revision up to it can appear any more.

A transaction that draws a revision holds a shared advisory lock until it ends. A number read from the sequence is
visible to all when none of the transactions that held the lock right after that reading holds it still.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from threading import Event, Lock
from typing import Any

from stepflow.drivers.postgres.connector import Connection
from stepflow.drivers.postgres.transactions import Statement, TransactionRunner, fetch_all

LAST = "select last_value, is_called, pg_postmaster_start_time()::text from stepflow.revs"
# The lock's 64-bit key is shown in two halves.
HOLDERS = (
    "select virtualtransaction from pg_locks where locktype = 'advisory' and objsubid = 1 and granted"
    " and database = (select oid from pg_database where datname = current_database())"
    " and classid::bigint = $1 and objid::bigint = $2"
)


def halves(key: int) -> tuple[int, int]:
    """A lock's key as the server lists it."""
    return (key >> 32) & 0xFFFFFFFF, key & 0xFFFFFFFF


NEWEST = "select rev, shard, id, token from stepflow.history where shard = $1 and rev <= $2 order by rev desc limit 1"
SAME = "select rev, shard, id, token from stepflow.history where shard = $1 and rev = $2"
FLOOR = "select value from stepflow.meta where name = 'floor'"
PAUSE_S, PAUSES = 0.002, 250  # how long a reader waits for transactions that have drawn a revision, at most
log = logging.getLogger("stepflow")


class VisibleRev:
    """The visible revision of one store, as far as this session knows it.

    Several threads read the sequence and the lock's holders at the same time, and may report in another order than they
    read. So each reading has a number: `begin` before the statements are sent, `judge` with their rows. A reading that began
    before the awaited transactions were noted tells nothing of them: it may have been made before they took the lock.

    When the server was started again, or is another one, or its sequence stands before the visible revision, the newest
    revision that was seen is looked up. If it is gone, the store lost revisions (a failover to a standby that lagged, or a
    restored backup): `timeline` grows, all that was known is forgotten, and `on_loss` is called.
    """

    def __init__(self, runner: TransactionRunner, key: int, on_loss: Callable[[], None] = lambda: None) -> None:
        self._runner, self._on_loss = runner, on_loss
        self.timeline = 0
        self._boot = ""  # which start of which server
        self._witness: tuple[Any, ...] | None = None  # revision, shard, run and token of the newest one seen
        self._halves = halves(key)
        self._lock = Lock()
        self._visible = 0
        self._wanted = 0  # visible as soon as `_awaited` is empty
        self._awaited: set[object] = set()
        self._noted = 0  # how often `_awaited` was replaced
        self._pause = Event()

    def asking(self) -> list[Statement]:
        """The statements whose rows `judge` wants, in this order."""
        return [(self._runner.sql(LAST), ()), (HOLDERS, self._halves)]

    def begin(self) -> int:
        """The number of a reading that begins now."""
        return self._noted

    def judge(self, number: int, last: list[Any], holders: list[Any]) -> int:
        """The visible revision, given the rows that the statements of `asking` gave to reading `number`."""
        if self._boot and last[0][2] != self._boot:
            return self._visible  # read from a server that was replaced meanwhile
        return self._judge(number, _drawn(last), {row[0] for row in holders})

    def verify(self, connection: Connection, last: list[Any]) -> None:
        """Find out whether the store lost revisions, if it looks like that; before `judge`."""
        if last[0][2] == self._boot and _drawn(last) >= self._visible:
            return
        witness = self._witness
        looks = [(self._runner.sql(SAME), witness[1::-1])] if witness else []
        last, floor, *found = fetch_all(connection, (self._runner.sql(LAST), ()), (self._runner.sql(FLOOR), ()), *looks)
        missing = witness is not None and witness not in found[0] and not (floor and floor[0][0] >= witness[0])
        with self._lock:
            lost = witness is not None and self._witness is witness and (missing or _drawn(last) < witness[0])
            if lost:
                self.timeline += 1
                self._visible, self._wanted, self._awaited, self._witness = 0, 0, set(), None
                self._noted += 1
            self._boot = last[0][2]
        if lost and witness is not None:
            text = "%s: revision %d is gone: this is a standby that lagged, or a restored backup"
            log.error(text, self._runner.place.url, witness[0])
            self._on_loss()

    def newest(self, connection: Connection, shards: Sequence[str], visible: int, last: list[Any]) -> int:
        """The newest revision of these shards up to the visible one, or that of a run that was pruned since."""
        sql = self._runner.sql
        looks = [(sql(NEWEST), (shard, visible)) for shard in shards]
        floor, *found = fetch_all(connection, (sql(FLOOR), ()), *looks)
        newest = max((row for rows in found for row in rows), default=None)
        with self._lock:
            if newest is not None and last[0][2] == self._boot:
                self._witness = newest
        return max([int(row[0]) for row in floor] + [int(newest[0]) if newest else 0])

    def read(self, connection: Connection) -> int:
        """The visible revision as of now."""
        number = self.begin()
        last, holders = fetch_all(connection, *self.asking())
        self.verify(connection, last)
        return self.judge(number, last, holders)

    def _judge(self, number: int, last: int, holders: set[object]) -> int:
        with self._lock:
            if not holders:  # true whenever it was read: all that drew a number up to `last` have ended
                self._visible = max(self._visible, last)
            if number == self._noted:
                self._awaited &= holders
                if not self._awaited:
                    self._visible = max(self._visible, self._wanted)
                    self._wanted, self._awaited = last, holders
                    self._noted += 1
            return self._visible

    def covering(self, connection: Connection) -> int:
        """The visible revision that covers all that is committed now: waits for running transactions, up to a limit."""
        number = self.begin()
        last, holders = fetch_all(connection, *self.asking())
        self.verify(connection, last)
        goal, visible = _drawn(last), self.judge(number, last, holders)
        for _turn in range(PAUSES):
            if visible >= goal or self._pause.wait(PAUSE_S):
                break
            visible = self.read(connection)
        return visible

    def close(self) -> None:
        """End all waiting."""
        self._pause.set()


def _drawn(last: list[Any]) -> int:
    """The last number drawn from a sequence."""
    value, called, _boot = last[0]
    return int(value) if called else 0
