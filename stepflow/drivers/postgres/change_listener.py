"""Finds changes by other sessions: notifications are a hint, polls decide. Its connection holds the owner's lock.

One thread per session has a connection of its own for this. It announces a commit after it was made, at most every few
milliseconds, and not in the transaction itself: a transaction that notifies makes all others that notify wait for its
disk write.
"""

from __future__ import annotations

import os
import selectors
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Condition, Event, Lock, Thread
from typing import Any

import psycopg
from attrs import frozen

from stepflow.drivers.port.background import Guard, join
from stepflow.drivers.postgres.arrays import texts
from stepflow.drivers.postgres.connection import URGENT_ANSWER_S, Silent
from stepflow.drivers.postgres.connector import Connection, Connector
from stepflow.drivers.postgres.owners import OwnLock
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.schema import lock_key
from stepflow.drivers.postgres.transactions import for_schema
from stepflow.drivers.postgres.visible_rev import HOLDERS, halves
from stepflow.errors import Unavailable

POLL_S = 0.05
IDLE_S = 1.0  # the poll period while no caller waits for changes
PAUSE_S = 0.02  # after every turn: notifications of this time are handled together
RETRY_S = 0.2  # between two tries to connect: the owner's lock has to be taken again soon
# Polls after which a change that can be our own counts as another session's.
DOUBTS, DOUBTS_POOLED = 100, 5

MARKS = (
    "select r.last_value, r.is_called, e.last_value, e.is_called, s.last_value, s.is_called,"
    " (select count(*) from stepflow.inbox where shard = any($1::text[])),"
    " (select max(seq) from stepflow.inbox where shard = any($1::text[]))"
    " from stepflow.revs r, stepflow.epochs e, stepflow.seqs s"
)
TAKE = "select pg_try_advisory_lock($1), pg_postmaster_start_time()::text"
UNCOMMITTED = f"select exists ({HOLDERS})"


@frozen
class Channel:
    """Where changes are announced and heard: `key` is the owner's lock, 0 for none."""

    connector: Connector
    shards: Shards
    owner: str
    key: int
    lock: OwnLock

    @property
    def name(self) -> str:
        """The channel of this schema."""
        return f"stepflow_{lock_key(self.connector.place.schema, 'news') & 0xFFFFFFFFFFFFFFFF:x}"

    @property
    def sender(self) -> str:
        """The payload of the own notifications."""
        return f"{self.topic} {lock_key('', self.owner)}"

    @property
    def topic(self) -> str:
        """A short name of the namespace."""
        return str(lock_key("", self.shards.all[0]))


class ChannelListener:
    """A counter of changes by other sessions. The connection is opened at once, so that the lock is held from the start."""

    def __init__(self, channel: Channel) -> None:
        self._channel, self._pooled = channel, channel.connector.pooled
        self._limit = DOUBTS_POOLED if self._pooled else DOUBTS
        self._closing = Event()
        self._told = Condition()
        self._token = 0
        self._lock = Lock()
        self.guard = Guard("listen", RETRY_S)
        self._begun = self._done = 0  # own writes
        self._news = self._asked = self._heard = False
        self._doubts = 0
        self._open = False  # a change was seen while a transaction that may hold another one was running
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        try:
            self._connection: Connection | None = None
            self._own = (0, 0)
            connection = self._connection = self._channel.connector.connect_once()
            self._tune(connection)
            self._marks = self._look(connection)
            self._thread = Thread(target=self._run, name="stepflow-postgres-listen", daemon=True)
            self._thread.start()
        except BaseException:
            if self._connection is not None:
                self._connection.close()
            self._close_pipe()
            raise

    def _tune(self, connection: Connection) -> None:
        """Take the owner's lock, listen, and do not wait for the disk: this connection writes nothing."""
        connection.answer_s = URGENT_ANSWER_S
        if self._pooled:
            return
        connection.add_notify_handler(self._hear)
        connection.execute("set synchronous_commit = off")
        connection.execute(f'listen "{self._channel.name}"')
        for _turn in range(20):
            row = connection.execute(TAKE, (self._channel.key,)).fetchone()
            if row and row[0]:
                self._channel.lock.taken(str(row[1]))
                return
            self._closing.wait(0.1)  # its last session may not have ended on the server yet
        connection.close()
        raise Unavailable(
            f"{self._channel.connector.place.url}: another engine has the owner id {self._channel.owner!r}; use a new id"
        )

    def _hear(self, notification: Any) -> None:
        topic, _space, _sender = notification.payload.partition(" ")
        if topic == self._channel.topic and notification.payload != self._channel.sender:
            self._heard = True

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around every write of this session: it is announced, and does not count as another session's."""
        with self._lock:
            self._begun += 1
        try:
            yield
        finally:
            with self._lock:
                self._done += 1
                first, self._news = not self._news, True
            if first:
                self._wake()

    def _wake(self) -> None:
        with suppress(OSError):  # full: the thread wakes anyway; closed: it has ended
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
        self.guard.run(self._turn, self._closing.wait)
        self._end()

    def _turn(self) -> bool:
        """Connect if needed, then poll once; False at the end. After an error of the connection it is opened anew."""
        if self._closing.is_set():
            return False
        connection = self._connection
        try:
            if connection is None or connection.closed:
                connection = self._reopen()
            self._poll(connection)
        except (psycopg.Error, OSError, ValueError) as error:
            self._channel.lock.lost()
            if isinstance(error, Silent):
                self._channel.connector.network.breaks += 1
            if connection is not None:
                connection.close()
            if self._closing.is_set():
                return False
            raise
        self._closing.wait(PAUSE_S)
        return True

    def _poll(self, connection: Connection) -> None:
        """Wait for something, announce, hear, look."""
        ready = _readable(POLL_S if self._asked else IDLE_S, self._read, connection.fileno())
        if self._read in ready:
            os.read(self._read, 4096)
        if connection.fileno() in ready:
            connection.pgconn.consume_input()
        if self._news and not self._closing.is_set():
            self._news = False
            connection.execute("select pg_notify($1, $2)", (self._channel.name, self._channel.sender))
        elif not self._asked:
            connection.execute("select 1")
        if self._asked:
            self._judge(connection)

    def _look(self, connection: Connection) -> tuple[object, ...] | None:
        text = for_schema(MARKS, self._channel.connector.place.schema)
        return connection.execute(text, (texts(self._channel.shards.all),)).fetchone()

    def _judge(self, connection: Connection) -> None:
        """Decide whether another session changed something since the last look."""
        with self._lock:
            own, busy = (self._begun, self._done), self._begun != self._done
        marks, heard = self._look(connection), self._heard
        self._heard = False
        quiet, moved = own == self._own and not busy, marks != self._marks
        self._own, self._marks = own, marks
        if moved and not quiet and not heard:
            self._doubts = max(self._doubts, 1)
        tell = (moved and quiet) or self._open or (heard and (moved or self._doubts > 0))
        if tell:
            self._open = self._uncommitted(connection)
        elif self._doubts:
            self._doubts += 1
            tell = self._doubts > self._limit
        if tell:
            self._tell()

    def _uncommitted(self, connection: Connection) -> bool:
        key = lock_key(self._channel.connector.place.schema, "revs")
        row = connection.execute(UNCOMMITTED, halves(key)).fetchone()
        return bool(row and row[0])

    def _reopen(self) -> Connection:
        """The connection broke, perhaps because the server was restarted: connect again; anything may have changed."""
        connection = self._channel.connector.connect_once()
        try:
            self._tune(connection)
            self._marks = self._look(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._tell()
        return connection

    def _end(self) -> None:
        """Announce the last commits, and release the lock: the server notices the end of the connection a little later."""
        connection = self._connection
        if connection is not None and not connection.closed:
            with suppress(psycopg.Error):
                if self._news:
                    connection.execute("select pg_notify($1, $2)", (self._channel.name, self._channel.sender))
                if not self._pooled:
                    connection.execute("select pg_advisory_unlock_all()")
            connection.close()
        self._close_pipe()

    def _close_pipe(self) -> None:
        for fd in (self._read, self._write):
            os.close(fd)

    def close(self) -> None:
        """Wake all waiters and end the thread."""
        self._closing.set()
        with self._told:
            self._told.notify_all()
        self._wake()
        join(self._thread)


def _readable(timeout_s: float, *fds: int) -> set[int]:
    """The descriptors that can be read, waited for up to `timeout_s`; their numbers may exceed 1,023, unlike in `select`."""
    with selectors.DefaultSelector() as selector:
        for fd in fds:
            selector.register(fd, selectors.EVENT_READ)
        return {key.fd for key, _events in selector.select(timeout_s)}
