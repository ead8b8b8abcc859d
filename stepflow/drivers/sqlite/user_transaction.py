"""user_transaction: a write transaction on a connection of its own, which a user's function writes in before our commit."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import ExitStack, suppress

from stepflow.drivers.port.commit import CommitResult, Enqueue
from stepflow.drivers.port.step import Member, answer, whole
from stepflow.drivers.port.user_transaction import UserTransaction
from stepflow.drivers.sqlite import inbox
from stepflow.drivers.sqlite.commit import CommitApplier
from stepflow.drivers.sqlite.commit_fast import REVISION
from stepflow.drivers.sqlite.database import SqliteDatabase, roll_back
from stepflow.drivers.sqlite.errors import translate, translated
from stepflow.drivers.sqlite.meta import head
from stepflow.drivers.sqlite.owners import SqliteOwners
from stepflow.drivers.sqlite.users_connection import BELONGS, SqliteUsersConnection
from stepflow.errors import StepflowError, StoreError

LOOK_EVERY = 20_000  # instructions of SQLite's machine: less than a millisecond
LAST_STATEMENTS = frozenset(
    {(sqlite3.SQLITE_PRAGMA, "query_only", "ON"), (sqlite3.SQLITE_TRANSACTION, "ROLLBACK", None)}
)
STORE_FAILS = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_READONLY)


class SqliteTransaction(UserTransaction):
    """Holds the write lock of the file from its making to its end."""

    connection: SqliteUsersConnection

    def __init__(self, database: SqliteDatabase, shard: str, owners: SqliteOwners) -> None:
        self._database, self._shard, self._owners = database, shard, owners
        self._guard, self._ended, self._refused = threading.Lock(), False, False
        self._held = ExitStack()  # the turn of a writer
        self._held.enter_context(database.turn())
        try:
            with translated(database.path):
                self.connection = database.connect(SqliteUsersConnection)
                self._begin()
        except BaseException:
            self._held.close()
            raise

    def _begin(self) -> None:
        connection = self.connection
        try:
            connection.executescript(
                f"PRAGMA temp_store=MEMORY; PRAGMA busy_timeout=0; PRAGMA foreign_keys=ON; {REVISION}"
            )
            self._database.begin(connection)
            while inbox.waiting(connection):
                connection.ended = True
                inbox.apply_posts(connection)
                connection.commit()
                connection.ended = False
                self._database.begin(connection)
            connection.set_authorizer(self._authorize)
            connection.set_progress_handler(self._is_abandoned, LOOK_EVERY)
        except BaseException:
            self._close()
            raise

    def _authorize(self, action: int, first: str | None, second: str | None, *_names: str | None) -> int:
        """Of the function: no statement that begins or ends a transaction; after it was abandoned, none at all."""
        if self._ended:
            return sqlite3.SQLITE_OK if (action, first, second) in LAST_STATEMENTS else sqlite3.SQLITE_DENY
        if action != sqlite3.SQLITE_TRANSACTION:
            return sqlite3.SQLITE_OK
        self._refused = True
        return sqlite3.SQLITE_DENY

    def _is_abandoned(self) -> bool:
        """Whether a statement that runs has to end."""
        return self._ended

    def finish(self) -> None:
        connection = self.connection
        with connection.alone:
            if self._ended:  # given up meanwhile: `commit` says so
                return
            if connection.in_transaction:
                connection.set_authorizer(None)
                connection.set_progress_handler(None, 0)
                connection.row_factory, connection.text_factory = None, str
                connection.ended = True
                return
        self.roll_back()  # SQLite does so by itself after some errors, e.g. of a full disk
        raise StepflowError(
            "the transaction was rolled back by a statement that failed: let the function raise that exception"
        )

    def commit(self, member: Member, now: int) -> CommitResult:
        with self._guard:
            if self._ended:
                raise StoreError(f"{self._database.path}: the transaction has ended; nothing was written")
            self._ended = True
        connection, commit = self.connection, whole(member)
        try:
            applier = CommitApplier(connection, self._shard, now, head(connection), self._owners.me.id)
            result = answer(member, applier.apply(commit))
            if isinstance(result, StepflowError):
                return result
            if any(isinstance(part, Enqueue) and part.owned for part in commit.queue):
                self._owners.appear_if_holding(connection)
            self._database.commit(connection)
        except sqlite3.Error as error:
            raise translate(error, self._database.path) from error
        else:
            return result
        finally:
            self._end()

    def roll_back(self) -> None:
        with self._guard:
            if self._ended:
                return
            self._ended = True
        self._end()

    def abandon(self) -> None:
        with self._guard:
            if self._ended:
                return
            self._ended = True
        # A statement that runs is ended by the progress handler.
        try:
            with self.connection.alone:
                for statement in ("PRAGMA query_only=ON", "ROLLBACK"):  # so those that are prepared write nothing, too
                    with suppress(sqlite3.Error):
                        sqlite3.Connection.execute(self.connection, statement)
        finally:
            self._held.close()

    def trouble(self, error: BaseException) -> StoreError | None:
        if not issubclass(
            type(error), sqlite3.Error
        ):  # not isinstance: that would ask the exception for its `__class__`
            return None
        if self._refused and isinstance(error, sqlite3.DatabaseError) and "not authorized" in str(error):
            error.add_note(BELONGS)
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in STORE_FAILS:
            return translate(error, self._database.path)
        return None

    def _end(self) -> None:
        """Roll back what is not committed, and let the other writers go on."""
        try:
            self._close()
        finally:
            self._held.close()

    def _close(self) -> None:
        connection = self.connection
        connection.ended = True
        with suppress(sqlite3.Error):
            connection.set_authorizer(None)
            connection.set_progress_handler(None, 0)
            roll_back(connection)
            connection.close()
