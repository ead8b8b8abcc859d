"""Finds changes by other sessions: notifications are a hint, readings of the store's marks decide. Its connection holds the owner's lock.

One thread per session has a connection of its own for this. It announces a commit after it was made, at most every few
milliseconds, and not in the transaction itself: a transaction that notifies makes all others that notify wait for its
disk write. What a caller's transaction posted is announced by the session that posted it, when it finds it.

Where notifications come, the marks are only read in case that one is lost: with every beat (`observe`), else every
LISTENING_S seconds. Behind a pooler of transactions, which passes none on, they are read every POLL_S seconds, and the less
often the longer nothing happens, at last every POOLED_S seconds.
"""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Condition, Event, Lock, Thread

import psycopg
from attrs import frozen

from stepflow.drivers.port.background import Guard, join
from stepflow.drivers.postgres.arrays import texts
from stepflow.drivers.postgres.beat import INBOX_APART
from stepflow.drivers.postgres.change_judge import FROM_SEQUENCES, INBOX, SEQUENCES, ChangeJudge, Marks
from stepflow.drivers.postgres.connection import URGENT_ANSWER_S, Silent
from stepflow.drivers.postgres.connector import Connection, Connector
from stepflow.drivers.postgres.owners import OwnLock
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.schema import lock_key
from stepflow.drivers.postgres.transactions import for_schema, pipelined
from stepflow.drivers.postgres.visible_rev import HOLDERS, halves
from stepflow.errors import Unavailable

POLL_S, SLOWER = (
    0.05,
    1.5,
)  # the first pause between two readings, and by which factor each is longer than the one before
LISTENING_S = 2.0  # the longest: longer than that between the beats of an idle worker, which read the marks as well
LISTENING_APART_S = 4.0  # the same on Citus
POOLED_S = 1.5  # the same where no notifications come
POSTED_S, FOLLOW_S = 0.25, 10.0  # the longest pause while a post of this session may become visible, and for how long
# Between two uses of the connection: one that was lost in silence, with the lock, must be noticed.
CHECK_S, CHECK_APART_S, CHECK_POOLED_S = 10.0, 30.0, 300.0
PAUSE_S = 0.02  # after every turn: notifications of this time are handled together
RETRY_S = 0.2  # between two tries to connect: the owner's lock has to be taken again soon
DOUBT_S, DOUBT_POOLED_S = 7.0, 0.35  # after this time a change that can be our own counts as another session's

MARKS = f"select {SEQUENCES}, {INBOX.format(shards='$1::text[]')} from {FROM_SEQUENCES}"  # noqa: S608 - constants
# On Citus: what the coordinator knows, and what the workers know.
MARKS_APART = (
    f"select {SEQUENCES} from {FROM_SEQUENCES}",  # noqa: S608 - constants
    INBOX_APART,
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
    """A counter of changes by other sessions. The connection is opened at once, so that the lock is held from the start.

    The thread that listens begins with `listen`, at the latest when there is something to announce or to wait for.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel, self._pooled = channel, channel.connector.pooled
        self._citus = channel.connector.place.citus
        self._check_s = CHECK_POOLED_S if self._pooled else CHECK_APART_S if self._citus else CHECK_S
        self._closing = Event()
        self._thread: Thread | None = None
        self._starting = Lock()
        self._told = Condition()
        self._token = 0
        self._judge = ChangeJudge()
        self.guard = Guard("listen", RETRY_S)
        self._news = self._heard = False
        self._waits, self._waited = 0, False  # callers that wait now; whether one did since the last turn
        self._observed = 0  # readings that came from outside of the thread
        # Seconds since the last reading, since the connection was used, since it is doubtful whose a change is; how long a post is still awaited.
        self._unread_s = self._unused_s = self._doubted_s = self._posted_s = 0.0
        self._pause_s = POLL_S
        self._look_now = self._changed = False  # what the thread has to do at once
        self._hears = False  # whether the present connection has notifications sent
        self._open = False  # a change was seen while a transaction that may hold another one was running
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        try:
            self._connection: Connection | None = None
            connection = self._connection = self._channel.connector.connect_once()
            self._tune(connection)
            self._judge.start(*self._marks(connection))
        except BaseException:
            if self._connection is not None:
                self._connection.close()
            self._close_pipe()
            raise

    def _tune(self, connection: Connection) -> None:
        """Take the owner's lock, and do not wait for the disk: this connection writes nothing."""
        connection.answer_s = URGENT_ANSWER_S
        if self._pooled:
            return
        with pipelined(connection):
            connection.execute("set synchronous_commit = off")
            taken = connection.execute(TAKE, (self._channel.key,))
        for _turn in range(20):
            row = taken.fetchone()
            if row and row[0]:
                self._channel.lock.taken(str(row[1]))
                return
            self._closing.wait(0.1)  # its last session may not have ended on the server yet
            taken = connection.execute(TAKE, (self._channel.key,))
        connection.close()
        raise Unavailable(
            f"{self._channel.connector.place.url}: another engine has the owner id {self._channel.owner!r}; use a new id"
        )

    def listen(self) -> None:
        """Let the thread notice changes, and the loss of the connection with the lock, from now on."""
        if self._thread is not None:
            return
        with self._starting, suppress(RuntimeError):  # no thread can be started: the next call tries again
            if self._thread is None and not self._closing.is_set():
                thread = Thread(target=self._run, name="stepflow-postgres-listen", daemon=True)
                thread.start()
                self._thread = thread

    def _hear_all(self, connection: Connection) -> None:
        """Have notifications sent; the server keeps them for a session that does not read them, so the thread begins with this."""
        if not self._pooled:
            connection.add_notify_handler(lambda notification: self._hear(notification.payload))
            connection.execute(f'listen "{self._channel.name}"')
        # What was committed before is in the marks, except by transactions that were running when these were read first.
        self._hears, self._changed = True, True

    def _hear(self, payload: str) -> None:
        topic, _space, _sender = payload.partition(" ")
        if topic == self._channel.topic and payload != self._channel.sender:
            self._heard = True

    @contextmanager
    def writing(self) -> Iterator[Callable[[], None]]:
        """Around every write of this session: it is announced, and does not count as another session's.

        What it gives is called inside if nothing was written that others should hear of.
        """
        with self._judge.writing() as nothing:
            try:
                yield lambda: nothing.append(True)
            finally:
                first, self._news = not nothing and not self._news, self._news or not nothing
        if first:
            self._wake()

    def posted(self) -> None:
        """A caller's transaction, which may be committed soon, wrote into the inbox: look for it, and announce it."""
        self._posted_s, self._pause_s = FOLLOW_S, POLL_S
        self._wake()

    def check(self) -> None:
        """Another connection of this session turned out to be lost: find out soon whether this one is, too."""
        self._look_now = True
        self._wake()

    def before(self) -> tuple[int, int]:
        """To be asked before marks are read for `observe`."""
        return self._judge.before()

    def observe(self, before: tuple[int, int], sequences: Marks, inbox: Marks) -> None:
        """Marks that were read together with something else; from any thread."""
        self._observed += 1
        reading = self._judge.observe(before, sequences, inbox)
        self._changed = self._changed or reading.others or self._open
        self._news = self._news or (reading.posted and self._posted_s > 0)
        if self._changed or self._news:
            self._wake()

    def _wake(self) -> None:
        self.listen()
        with suppress(OSError):  # full: the thread wakes anyway; closed: it has ended
            os.write(self._write, b".")

    def wait(self, token: int, timeout_s: float) -> int:
        """Return when the counter is not `token`, after `timeout_s`, or when the session closes.

        The first look, which always counts, is awaited for longer: later ones count the changes of others alone.
        """
        with self._told:
            first = not self._waits and not self._waited
            self._waits, self._waited = self._waits + 1, True
            if first:  # what happened while no caller waited may not have been noticed
                self._look_now = True
                self._wake()
            try:
                longest_s = timeout_s if self._token else max(timeout_s, URGENT_ANSWER_S)
                self._told.wait_for(lambda: self._token != token or self._closing.is_set(), longest_s)
            finally:
                self._waits -= 1
            return self._token

    def _tell(self) -> None:
        self._judge.doubtful, self._doubted_s = False, 0.0
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

    def _marks(self, connection: Connection) -> tuple[Marks, Marks]:
        place, shards = self._channel.connector.place, (texts(self._channel.shards.all),)
        if not place.citus:
            row = connection.execute(for_schema(MARKS, place.schema), shards).fetchone()
            assert row is not None
            return row[:-2], row[-2:]
        first, second = (for_schema(text, place.schema) for text in MARKS_APART)
        (sequences,), (inbox,) = connection.execute(first).fetchall(), connection.execute(second, shards).fetchall()
        return tuple(sequences), tuple(inbox)

    def _look(self, connection: Connection) -> None:
        """Read the marks, and tell if another session changed something since the last reading."""
        changed = self._changed or self._heard or self._open
        self._changed = self._heard = self._look_now = False
        before = self._judge.before()
        reading = self._judge.observe(before, *self._marks(connection))
        self._unread_s = self._unused_s = 0.0
        self._pause_s = POLL_S if reading.moved or changed else self._pause_s * SLOWER
        if reading.posted and self._posted_s:
            self._announce(connection)
        if reading.others or changed:
            self._open = self._uncommitted(connection)
            self._tell()

    def _poll(self, connection: Connection) -> None:
        """Wait for something, announce, hear, look."""
        if not self._hears:
            self._hear_all(connection)
        with self._told:
            asked, self._waited = self._waited, self._waits > 0
        asked = asked or self._posted_s > 0
        left_s = self._check_s - self._unused_s
        if asked:
            left_s = min(left_s, self._longest_s() - self._unread_s)
        observed = self._observed
        if self._look_now or self._changed or self._heard or self._news:
            left_s = 0.0
        ready = _readable(max(left_s, 0.0), self._read, connection.fileno())
        # Less time may have passed than is counted for a reading from outside, and more if there was something to do.
        self._pass(PAUSE_S if ready else PAUSE_S + max(left_s, 0.0), observed != self._observed)
        if self._read in ready:
            os.read(self._read, 4096)
        if connection.fileno() in ready:
            connection.pgconn.consume_input()
            while (notification := connection.pgconn.notifies()) is not None:
                self._hear(notification.extra.decode())
        if self._news and not self._closing.is_set():
            self._announce(connection)
        overdue = asked and self._unread_s >= self._longest_s()
        if self._look_now or self._changed or self._heard or overdue or self._unused_s >= self._check_s:
            self._look(connection)

    def _pass(self, seconds: float, read: bool) -> None:
        self._unused_s += seconds
        self._unread_s = 0.0 if read else self._unread_s + seconds
        self._posted_s = max(self._posted_s - seconds, 0.0)
        self._doubted_s = self._doubted_s + seconds if self._judge.doubtful else 0.0
        if self._doubted_s > (DOUBT_POOLED_S if self._pooled else DOUBT_S):
            self._tell()

    def _longest_s(self) -> float:
        """The pause between two readings: short where no notification of what is awaited can come."""
        if self._posted_s:
            return min(self._pause_s, POSTED_S)
        listening_s = LISTENING_APART_S if self._citus else LISTENING_S
        return min(self._pause_s, POOLED_S) if self._pooled else listening_s

    def _announce(self, connection: Connection) -> None:
        self._news = False
        try:
            connection.execute("select pg_notify($1, $2)", (self._channel.name, self._channel.sender))
        except BaseException:
            self._news = True  # with the next connection
            raise
        self._unused_s = 0.0
        if self._pooled:
            self._pause_s = POLL_S  # where this session works, others often do as well

    def _uncommitted(self, connection: Connection) -> bool:
        key = lock_key(self._channel.connector.place.schema, "revs")
        row = connection.execute(UNCOMMITTED, halves(key)).fetchone()
        return bool(row and row[0])

    def _reopen(self) -> Connection:
        """The connection broke, perhaps because the server was restarted: connect again; anything may have changed."""
        connection = self._channel.connector.connect_once()
        try:
            self._tune(connection)
            self._judge.start(*self._marks(connection))
        except BaseException:
            connection.close()
            raise
        self._connection, self._unused_s, self._hears = connection, 0.0, False
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
        with self._starting:
            thread = self._thread
        if thread is None:
            self._end()
        else:
            self._wake()
            join(thread)


def _readable(timeout_s: float, *fds: int) -> set[int]:
    """The descriptors that can be read, waited for up to `timeout_s`; their numbers may exceed 1,023, unlike in `select`."""
    with selectors.DefaultSelector() as selector:
        for fd in fds:
            selector.register(fd, selectors.EVENT_READ)
        return {key.fd for key, _events in selector.select(timeout_s)}
