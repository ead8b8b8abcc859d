"""Notices what other sessions change: notifications as a hint, polling as the truth. It also holds the owner's lock.

One thread per session has a connection of its own for all this. A commit is announced after it was made, at most every
few milliseconds, by that connection and not in the transaction itself: a transaction that notifies would make all
others that do wait for its disk write.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Condition, Event, Lock, Thread
from typing import Any

import psycopg
from attrs import frozen

from stepflow.drivers.postgres.arrays import texts
from stepflow.drivers.postgres.connector import Connection, Connector
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.schema import lock_key
from stepflow.drivers.postgres.transactions import for_schema
from stepflow.drivers.postgres.visible_rev import HOLDERS, halves
from stepflow.errors import Unavailable

POLL_S = 0.05
IDLE_S = 1.0  # while nobody waits for news
PAUSE_S = 0.02  # after every turn: announcements and news of so long are taken together
RETRY_S = 0.2
# Polls after which a change may have been another session's that could as well have been our own.
DOUBTS, DOUBTS_POOLED = 100, 5

MARKS = (
    "select r.last_value, r.is_called, e.last_value, e.is_called, s.last_value, s.is_called,"
    " (select count(*) from stepflow.inbox where shard = any($1::text[])),"
    " (select max(seq) from stepflow.inbox where shard = any($1::text[]))"
    " from stepflow.revs r, stepflow.epochs e, stepflow.seqs s"
)
ON_THEIR_WAY = f"select exists ({HOLDERS})"


@frozen
class Channel:
    """Where news are sent and heard: `key` is the owner's lock, 0 for none."""

    dialer: Connector
    shards: Shards
    owner: str
    key: int

    @property
    def channel(self) -> str:
        """The channel of this schema."""
        return f"stepflow_{lock_key(self.dialer.place.schema, 'news') & 0xFFFFFFFFFFFFFFFF:x}"

    @property
    def sender(self) -> str:
        """The payload by which the own notifications are known."""
        return f"{self.topic} {lock_key('', self.owner)}"

    @property
    def topic(self) -> str:
        """The namespace in short."""
        return str(lock_key("", self.shards.all[0]))


class ChannelListener:
    """A counter of changes that others made. The connection is opened at once, so that the lock is held from the start."""

    def __init__(self, station: Channel) -> None:
        self._station, self._pooled = station, station.dialer.place.pooled
        self._limit = DOUBTS_POOLED if self._pooled else DOUBTS
        self._closing = Event()
        self._told = Condition()
        self._token = 0
        self._guard = Lock()
        self._begun = self._done = 0  # own writes
        self._news = self._asked = self._heard = False
        self._doubts = 0
        self._open = False  # somebody's change was seen before it was certainly committed
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        try:
            self._connection: Connection | None = self._station.dialer.dedup()
            self._tune(self._connection)
        except BaseException:
            self._close_pipe()
            raise
        self._marks = self._look(self._connection)
        self._own = (0, 0)
        self._thread = Thread(target=self._run, name="stepflow-postgres-watch", daemon=True)
        self._thread.start()

    def _tune(self, connection: Connection) -> None:
        """Take the owner's lock, listen, and do not wait for the disk: nothing is written here."""
        if self._pooled:
            return
        connection.add_notify_handler(self._hear)
        connection.execute("set synchronous_commit = off")
        connection.execute(f'listen "{self._station.channel}"')
        for _turn in range(20):
            row = connection.execute("select pg_try_advisory_lock($1)", (self._station.key,)).fetchone()
            if row and row[0]:
                return
            self._closing.wait(0.1)  # its last session may not have ended on the server yet
        connection.close()
        raise Unavailable(
            f"{self._station.dialer.place.url}: another engine has the owner id {self._station.owner!r}; use a new id"
        )

    def _hear(self, notification: Any) -> None:
        topic, _space, _sender = notification.payload.partition(" ")
        if topic == self._station.topic and notification.payload != self._station.sender:
            self._heard = True

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around every write of this session: it is announced, and not taken for somebody else's."""
        with self._guard:
            self._begun += 1
        try:
            yield
        finally:
            with self._guard:
                self._done += 1
                first, self._news = not self._news, True
            if first:
                self._wake()

    def _wake(self) -> None:
        with suppress(OSError):  # full: it is awake; closed: it is over
            os.write(self._write, b".")

    def wait(self, token: int, timeout_s: float) -> int:
        """Return when the counter is not `token`, after `timeout_s`, or when the session closes."""
        if not self._asked:
            self._asked = True
            self._wake()
        with self._told:
            self._told.wait_for(lambda: self._token != token or self._closing.is_set(), timeout_s)
            return self._token

    def _tell(self) -> None:
        self._doubts = 0
        with self._told:
            self._token += 1
            self._told.notify_all()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._turn()
            except (psycopg.Error, Unavailable, OSError, ValueError):
                self._reopen()
            self._closing.wait(PAUSE_S)
        self._end()

    def _turn(self) -> None:
        """Wait for something, announce, hear, look."""
        connection = self._connection
        if connection is None or connection.closed:
            raise psycopg.OperationalError("the connection is closed")
        timeout = POLL_S if self._asked else IDLE_S
        ready, _w, _x = select.select([self._read, connection.fileno()], [], [], timeout)
        if self._read in ready:
            os.read(self._read, 4096)
        if connection.fileno() in ready:
            connection.pgconn.consume_input()
        if self._news and not self._closing.is_set():
            self._news = False
            connection.execute("select pg_notify($1, $2)", (self._station.channel, self._station.sender))
        elif not self._asked:
            connection.execute("select 1")
        if self._asked:
            self._judge(connection)

    def _look(self, connection: Connection) -> tuple[object, ...] | None:
        text = for_schema(MARKS, self._station.dialer.place.schema)
        return connection.execute(text, (texts(self._station.shards.all),)).fetchone()

    def _judge(self, connection: Connection) -> None:
        """Decide whether somebody else changed something since the last look."""
        with self._guard:
            own, busy = (self._begun, self._done), self._begun != self._done
        marks, heard = self._look(connection), self._heard
        self._heard = False
        quiet, moved = own == self._own and not busy, marks != self._marks
        self._own, self._marks = own, marks
        if moved and not quiet and not heard:
            self._doubts = max(self._doubts, 1)
        tell = (moved and quiet) or self._open or (heard and (moved or self._doubts > 0))
        if tell:
            self._open = self._on_their_way(connection)
        elif self._doubts:
            self._doubts += 1
            tell = self._doubts > self._limit
        if tell:
            self._tell()

    def _on_their_way(self, connection: Connection) -> bool:
        key = lock_key(self._station.dialer.place.schema, "revs")
        row = connection.execute(ON_THEIR_WAY, halves(key)).fetchone()
        return bool(row and row[0])

    def _reopen(self) -> None:
        """The connection broke, perhaps because the server was restarted: connect again; anything may have changed."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        while not self._closing.is_set():
            try:
                connection = self._station.dialer.dedup()
                self._tune(connection)
                self._marks = self._look(connection)
            except (psycopg.Error, Unavailable):
                self._closing.wait(RETRY_S)
                continue
            self._connection = connection
            self._tell()
            return

    def _end(self) -> None:
        """Announce what was not announced yet, and let the lock go before the connection: that ends a little later."""
        connection = self._connection
        if connection is not None and not connection.closed:
            with suppress(psycopg.Error):
                if self._news:
                    connection.execute("select pg_notify($1, $2)", (self._station.channel, self._station.sender))
                if not self._pooled:
                    connection.execute("select pg_advisory_unlock_all()")
            connection.close()
        self._close_pipe()

    def _close_pipe(self) -> None:
        for fd in (self._read, self._write):
            os.close(fd)

    def close(self) -> None:
        """Wake who waits and stop."""
        self._closing.set()
        with self._told:
            self._told.notify_all()
        self._wake()
        self._thread.join()
