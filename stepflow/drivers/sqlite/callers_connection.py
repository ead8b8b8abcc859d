"""callers_connection: which connections to SQLite may be given as `tx=`, and how each executes a statement of ours.

A caller's connection may make rows and texts in its own way (`row_factory`, `text_factory`); ours are plain tuples of plain texts, and
what the caller set is there again afterwards.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stepflow.drivers.sqlite.errors import MEMBER_ERRORS, member_error, translate
from stepflow.drivers.sqlite.users_connection import SqliteUsersConnection
from stepflow.errors import StoreError

TAKEN = "give a sqlite3.Connection, a SQLAlchemy connection or session, or Django's connection"
NONE_OPEN = "tx= has no open transaction: begin one, call this, then commit"


class _Plain:
    """A sqlite3 connection whose rows are tuples, whatever its row factory, its class and its cursors are."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.in_transaction, self.isolation_level = connection.in_transaction, connection.isolation_level
        self.autocommit = getattr(connection, "autocommit", False)  # Python 3.12+

    def execute(self, text: str, values: tuple[object, ...] = ()) -> Any:
        connection = self._connection
        ours = isinstance(connection, SqliteUsersConnection)  # whose cursors let one thread at a time use it
        cursor = connection.cursor() if ours else sqlite3.Connection.cursor(connection, sqlite3.Cursor)
        cursor.row_factory = None
        return cursor.execute(text, values)


class _ThroughSqlAlchemy:
    """A SQLAlchemy Connection whose driver, such as aiosqlite, is not sqlite3 itself."""

    def __init__(self, connection: Any) -> None:
        self._connection, driver = connection, connection.connection.driver_connection
        self.in_transaction, self.isolation_level = driver.in_transaction, driver.isolation_level
        self.autocommit = getattr(driver, "autocommit", False)

    def execute(self, text: str, values: tuple[object, ...] = ()) -> Any:
        return self._connection.exec_driver_sql(text, values)


@contextmanager
def callers_connection(tx: Any, path: Path) -> Iterator[Any]:
    """The caller's connection, in its transaction on this file; what goes wrong with it inside is raised as ours."""
    given = _connection_of(tx)
    try:
        with _plain_texts(given):
            connection = _Plain(given) if isinstance(given, sqlite3.Connection) else _ThroughSqlAlchemy(given)
            _require_same_file(connection, path)
            if not connection.in_transaction and not _begins_by_itself(connection):
                raise StoreError(NONE_OPEN)
            yield connection
    except MEMBER_ERRORS as error:
        raise member_error(error) from error
    except sqlite3.ProgrammingError as error:  # it is closed, or belongs to another thread
        raise StoreError(
            f"tx= cannot be used here: {str(error).rstrip('.')}: give an open connection of this thread"
        ) from error
    except sqlite3.Error as error:
        raise translate(error, path) from error


def _connection_of(tx: Any) -> Any:
    """The sqlite3 connection of `tx`: itself, or that of a cursor, a SQLAlchemy Connection or Session, or Django's connection."""
    if hasattr(tx, "in_atomic_block"):
        if not tx.in_atomic_block and tx.get_autocommit():
            raise StoreError("tx= has no open transaction: call this inside `with transaction.atomic():`")
        tx.ensure_connection()
        tx = tx.connection
    if isinstance(tx, sqlite3.Connection):
        return tx
    pooled = getattr(tx, "driver_connection", None)  # of a connection of SQLAlchemy's pool
    found = getattr(tx, "connection", None) if pooled is None else pooled
    if isinstance(found, sqlite3.Connection):  # of a cursor; a sqlite3.Connection can be called, too
        return found
    if callable(found):  # a SQLAlchemy Session
        tx = found()
    driver = getattr(getattr(tx, "connection", None), "driver_connection", None)
    if isinstance(driver, sqlite3.Connection):
        return driver
    if driver is not None and getattr(getattr(tx, "dialect", None), "name", "") == "sqlite":
        return tx
    raise StoreError(f"tx={tx!r:.100} is no connection to SQLite that stepflow takes: {TAKEN}")


@contextmanager
def _plain_texts(connection: Any) -> Iterator[None]:
    """Texts are `str` inside of it, whatever the caller's connection makes of them."""
    theirs = getattr(connection, "text_factory", str)
    if theirs is str:
        yield
        return
    connection.text_factory = str
    try:
        yield
    finally:
        connection.text_factory = theirs


def _begins_by_itself(connection: Any) -> bool:
    """Whether an INSERT begins a transaction: not with isolation_level None, nor with autocommit=True (Python 3.12+)."""
    return connection.isolation_level is not None and connection.autocommit is not True


def _require_same_file(connection: Any, path: Path) -> None:
    files = {row[1]: row[2] for row in connection.execute("PRAGMA database_list")}
    main = files.get("main") or ""
    if not main or not Path(main).exists() or not Path(main).samefile(path):
        raise StoreError(
            f"tx= is on {main or 'an in-memory database'}, the engine's store is {path}: both must be one file"
        )
