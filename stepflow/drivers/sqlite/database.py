"""Database: the connections to one SQLite file: one writer, which takes turns with other processes, and a pool of readers."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import TypeVar

from stepflow.drivers.port.file_identity import FileIdentity
from stepflow.drivers.sqlite import numbered
from stepflow.drivers.sqlite.errors import translate, translated
from stepflow.drivers.sqlite.locks import WouldBlock, WriterLock, held_here, repeat_until, seconds
from stepflow.drivers.sqlite.log_space import LogSpace
from stepflow.errors import OutcomeUnknown, ReadOnly, StoreError, Unavailable

LOG_BYTES = 64 * 1024 * 1024  # size to which the log is truncated after a burst
BRIEF_S = 0.001  # lock timeout of a non-waiting writer; other threads of this session hold the lock for about this long
OWN_S = 1.0  # for a transaction of this process on another connection; another thread may be about to end it
BEGIN = "BEGIN IMMEDIATE"
VERSION = "PRAGMA data_version"
LOCKS = "-locks"  # suffix of the directory of lock files
OURS = numbered.Connection if numbered.AFFECTED else sqlite3.Connection
C = TypeVar("C", bound=sqlite3.Connection)
T = TypeVar("T")


def connect(
    path: Path,
    lock_timeout_s: float,
    *,
    read_only: bool = False,
    create: bool = True,
    factory: type[C] = OURS,  # type: ignore[assignment]
) -> C:
    """A connection without implicit transactions that any thread may use, one at a time.

    `lock_timeout_s` is how many seconds it waits for writers that do not take turns: other programs, a caller's transaction.
    """
    mode = "ro" if read_only else "rwc" if create else "rw"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        factory=factory,
        timeout=lock_timeout_s,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
        uri=True,
    )
    try:
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA cache_size=-16384")  # KiB
    except BaseException:
        connection.close()
        raise
    return connection


def create_file(path: Path) -> None:
    """Create an empty database file with the permissions that the umask leaves; SQLite itself would use 0644 at most.

    It gets its name by a link, without being open: to close a file releases the locks that SQLite holds on it in this process.
    """
    if path.exists():
        return
    empty = path.with_name(f"{path.name}-{os.getpid()}-{threading.get_ident()}.new")
    with suppress(OSError):  # SQLite creates the file where links are impossible, or says what is wrong
        empty.touch()
        try:
            os.link(empty, path)
        finally:
            empty.unlink()


class SqliteDatabase:
    """The connections of one session. Other threads may read while one writes."""

    def __init__(self, path: Path, lock_timeout_s: float, *, read_only: bool = False) -> None:
        self.path, self.read_only, self._lock_timeout_s = path, read_only, lock_timeout_s
        self.locks, self.log = path.with_name(path.name + LOCKS), path.with_name(path.name + "-wal")
        self._log_space = LogSpace(self.log)
        self._writing, self._pooling = Lock(), Lock()
        self._idle: list[sqlite3.Connection] = []
        self._closed, self._synced, self._waits = False, True, True
        self.waited = 0  # microseconds, for the right to write the present transaction
        self.generation = 0  # changes when another session has written, or a transaction of this one was rolled back
        self._version = 0
        with translated(path):
            if not read_only:
                create_file(path)
            self._writer: sqlite3.Connection = connect(path, lock_timeout_s, read_only=read_only)
            self._identity = FileIdentity(path)
        self._writer_lock: WriterLock | None = None

    def connect(self, factory: type[C] = OURS) -> C:  # type: ignore[assignment]
        """One more connection to the file, for the caller to close."""
        return connect(self.path, self._lock_timeout_s, read_only=self.read_only, create=False, factory=factory)

    def check_identity(self) -> None:
        """Raise StoreReplaced if the path does not lead to the file that this session opened."""
        self._identity.check()

    def use_wal(self) -> None:
        """Switch the file to WAL and create the lock files. Raises StoreError if that is impossible."""
        with translated(self.path):
            self.locks.mkdir(exist_ok=True)
        self._writer_lock = WriterLock(self.locks, self._lock_timeout_s)
        self._writer_lock.take()
        try:
            with translated(self.path):
                self._writer.execute("PRAGMA busy_timeout=0")  # `_wait` waits
                switch = "PRAGMA journal_mode=WAL"
                if not self._wait(lambda: _is_free(self._writer, switch)):
                    self._writer.execute(switch)
                mode = self._writer.execute("PRAGMA journal_mode").fetchone()[0]
                self._writer.execute(f"PRAGMA journal_size_limit={LOG_BYTES}")
        finally:
            self._writer_lock.give()
        if mode != "wal":
            raise StoreError(f"{self.path}: SQLite cannot use its write-ahead log here ({mode}); use a local file")

    def look(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """Read on the connection that will write: while a store is opened no other one is needed, and each reads the schema."""
        with translated(self.path):
            return read(self._writer)

    def prepare(self, statement: str) -> None:
        """Execute a statement once on the connection that writes, for that connection alone; it needs no temporary file."""
        with translated(self.path):
            self._writer.execute("PRAGMA temp_store=MEMORY")
            self._writer.execute(statement)

    def writing(self, *, wait: bool = True, synced: bool = True) -> WriteTransaction:
        """A write transaction: committed at the end of the block, rolled back when it raises.

        Without `wait` it raises WouldBlock, after BRIEF_S at most, when another thread, process or program is writing. A
        transaction that is not `synced` survives the end of this process, but not a power failure, unless a later one is synced.
        `waited` has for how many microseconds others were writing.
        """
        return WriteTransaction(self, wait, synced)

    def begin_turn(self, wait: bool, synced: bool) -> sqlite3.Connection:
        """Begin what `writing` promises; `end_turn` must follow."""
        since, free = seconds(), self._writing.acquire(blocking=False)
        if not free and not self._writing.acquire(timeout=-1 if wait else BRIEF_S):
            raise WouldBlock
        try:
            self._waits = wait
            free = self._ready().take(wait=wait) and free
        except BaseException:
            self._writing.release()
            raise
        try:
            writer = self._writer
            if synced is not self._synced:
                writer.execute(f"PRAGMA synchronous={'FULL' if synced else 'NORMAL'}")
                self._synced = synced
            free = self._begin(writer) and free
            if synced:
                self._log_space.fill()
            self.waited = 0 if free else round((seconds() - since) * 1_000_000)
        except BaseException as error:
            self.end_turn(error)
            raise
        return writer

    def end_turn(self, error: BaseException | None) -> None:
        """Commit; or roll back, and raise what the `error` of the block means."""
        try:
            if error is None:
                self.commit(self._writer)
                return
            self.generation += 1
            roll_back(self._writer)
            with translated(self.path):
                raise error
        finally:
            if self._writer_lock is not None:
                self._writer_lock.give()
            self._writing.release()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The right to write, for a transaction on another connection than the one of this session that writes."""
        with self._writing:
            self._waits, writer_lock = True, self._ready()
            writer_lock.take()
            try:
                yield
            finally:
                writer_lock.give()

    def next_transaction(self, writer: sqlite3.Connection, verb: str) -> None:
        """End the transaction with COMMIT or ROLLBACK and begin the next one within the same turn, with the same `wait`."""
        if writer.in_transaction:
            writer.execute(verb)
        self._begin(writer)

    def _begin(self, writer: sqlite3.Connection) -> bool:
        free = self.begin(writer)
        version = writer.execute(VERSION).fetchone()[0]
        if version != self._version:
            self._version, self.generation = version, self.generation + 1
        return free

    def begin(self, writer: sqlite3.Connection) -> bool:
        """Begin a write transaction; False if it waited for another program: these do not take turns and may be writing."""
        try:
            writer.execute(BEGIN)
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
        else:
            return True
        if not self._waits:
            raise WouldBlock
        if not self._wait(lambda: _is_free(writer, BEGIN)):
            writer.execute(BEGIN)
        return False

    def _wait(self, attempt: Callable[[], bool]) -> bool:
        """Repeat what another writer keeps from being done; False after the timeout.

        Raises Unavailable soon if that writer is a connection of this process, which may be waiting for this very call.
        """
        own_s = min(OWN_S, self._lock_timeout_s)
        if repeat_until(attempt, own_s):
            return True
        if held_here(self.path):
            raise Unavailable(
                f"{self.path}: a transaction that this process has open on another connection holds the write lock: commit "
                "it first, or give that connection as tx= to start, publish or cancel; nothing was written"
            )
        return repeat_until(attempt, self._lock_timeout_s - own_s)

    def check_writable(self) -> None:
        """Raise ReadOnly if the file was opened for reading only."""
        self._ready()

    def _ready(self) -> WriterLock:
        if self._closed:
            raise StoreError(f"{self.path}: this session is closed; open the engine again")
        if self._writer_lock is None:
            raise ReadOnly(f"{self.path} was opened with ?mode=ro: leave that out to write")
        self._identity.check()
        return self._writer_lock

    def commit(self, writer: sqlite3.Connection) -> None:
        """Commit; raises OutcomeUnknown or another StoreError, after a rollback."""
        try:
            writer.commit()  # acquires the interpreter lock once; executing COMMIT does so three times
        except sqlite3.Error as error:
            self.generation += 1
            roll_back(writer)
            if (getattr(error, "sqlite_errorcode", 0) & 0xFF) == sqlite3.SQLITE_IOERR:
                raise OutcomeUnknown(
                    f"{self.path}: {error} inside COMMIT; check the disk, then open it again"
                ) from error
            raise translate(error, self.path) from error

    def checkpoint(self, log_bytes: int) -> None:
        """Copy the log into the file if it is larger, without the turn of a writer; for a session that writes much."""
        with suppress(OSError):
            if self.log.stat().st_size < log_bytes:
                return
        with self._writing, suppress(sqlite3.Error):  # another connection may be at it
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def version(self) -> int:
        """A number that changes when another connection than this session's writer changed the file."""
        self.check_identity()
        with self._writing, translated(self.path):
            return 0 if self._closed else int(self._writer.execute(VERSION).fetchone()[0])

    def reading(self, *, brief: bool = False) -> ReadTransaction:
        """A connection with a consistent view of the committed data, for one block.

        A `brief` one is on the connection that writes, if no thread uses that now: it has in its memory what it wrote last.
        """
        return ReadTransaction(self, brief)

    def begin_reading(self, brief: bool) -> sqlite3.Connection:
        """Begin what `reading` promises; `end_reading` must follow."""
        reader = self._writer if brief and self._writing.acquire(blocking=False) else None
        try:
            with self._pooling:
                if self._closed:
                    raise StoreError(f"{self.path}: this session is closed; open the engine again")
                self.check_identity()
                if reader is None and self._idle:
                    reader = self._idle.pop()
            if reader is None:
                with translated(self.path):
                    reader = self.connect()
            reader.execute("BEGIN")
        except BaseException as error:
            self.end_reading(reader, error)
            raise
        return reader

    def end_reading(self, reader: sqlite3.Connection | None, error: BaseException | None) -> None:
        """End the view; raise what the `error` of the block means."""
        if error is None:
            try:
                reader.execute("COMMIT")  # type: ignore[union-attr]
            except BaseException as failure:  # noqa: BLE001 - raised below, as what it means
                error = failure
        if reader is self._writer:
            if error is not None:
                roll_back(self._writer)
            self._writing.release()
        elif reader is not None:
            self._give(reader, error is None)
        if error is not None:
            with translated(self.path):
                raise error

    def _give(self, reader: sqlite3.Connection, whole: bool) -> None:
        with self._pooling:
            if whole and not self._closed:
                self._idle.append(reader)
                return
        reader.close()

    def close(self) -> None:
        """Close every connection that is not in use; the others close when their use ends."""
        with self._writing, self._pooling:
            self._closed = True
            for connection in (*self._idle, self._writer):
                connection.close()
            self._idle.clear()
            if self._writer_lock is not None:
                self._writer_lock.close()
                self._writer_lock = None


def roll_back(writer: sqlite3.Connection) -> None:
    """End a transaction without a commit."""
    with suppress(sqlite3.Error):  # after some errors SQLite has rolled back already
        if writer.in_transaction:
            writer.execute("ROLLBACK")


def _is_busy(error: sqlite3.OperationalError) -> bool:
    """Whether another connection has the lock that a statement needs."""
    return (error.sqlite_errorcode & 0xFF) == sqlite3.SQLITE_BUSY


def _is_free(writer: sqlite3.Connection, statement: str) -> bool:
    """Execute a statement that needs the write lock; False if another connection has it."""
    try:
        writer.execute(statement)
    except sqlite3.OperationalError as error:
        if not _is_busy(error):
            raise
        return False
    return True


class WriteTransaction:
    """What `SqliteDatabase.writing` returns; a generator would take longer than all the rest of it in Python."""

    __slots__ = ("_database", "_synced", "_wait")

    def __init__(self, database: SqliteDatabase, wait: bool, synced: bool) -> None:
        self._database, self._wait, self._synced = database, wait, synced

    def __enter__(self) -> sqlite3.Connection:
        return self._database.begin_turn(self._wait, self._synced)

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._database.end_turn(error)


class ReadTransaction:
    """What `SqliteDatabase.reading` returns."""

    __slots__ = ("_brief", "_database", "_reader")

    def __init__(self, database: SqliteDatabase, brief: bool) -> None:
        self._database, self._brief = database, brief

    def __enter__(self) -> sqlite3.Connection:
        self._reader = self._database.begin_reading(self._brief)
        return self._reader

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._database.end_reading(self._reader, error)
