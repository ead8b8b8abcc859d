"""users_connection: the connection that a user's function gets, on which one thread is at work at a time.

A transaction that is given up is rolled back by another thread than that of the function, which may go on. Two threads on one
connection can stop the whole process: SQLite locks the connection, Python's module waits for that lock in some of its calls
(`sqlite3_errmsg`, `sqlite3_bind_*`, `sqlite3_column_*`, `sqlite3_create_function`) with the interpreter's lock, and our authorizer
waits for the interpreter's lock inside SQLite. So every call holds a lock of ours, which is waited for without the interpreter's.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import cache, wraps
from typing import Any, NoReturn

from stepflow.drivers.sqlite import numbered
from stepflow.errors import StepflowError

BELONGS = (
    "the transaction of this connection belongs to stepflow: return from the function to commit it, raise to roll it back; use"
    " SAVEPOINT for a part that may fail"
)
_OF_CURSOR = ("execute", "executescript", "fetchone", "fetchmany", "fetchall", "close", "__next__")
_OF_CONNECTION = (
    "backup",
    "blobopen",
    "create_aggregate",
    "create_collation",
    "create_function",
    "create_window_function",
    "deserialize",
    "enable_load_extension",
    "getlimit",
    "load_extension",
    "serialize",
    "set_authorizer",
    "set_progress_handler",
    "set_trace_callback",
    "setlimit",
)  # some of them only where SQLite was built with them
_Base: type[sqlite3.Connection] = numbered.Connection if numbered.AFFECTED else sqlite3.Connection
_END = object()


class SqliteUsersConnection(_Base):  # type: ignore[misc,valid-type]  # which one, the version of Python decides
    """The transaction is not the function's own: it can neither end it nor begin another.

    `alone` is held by the thread that is at work on the connection; it is free while the function does something else.
    """

    ended = False  # the function has: what follows are statements of ours

    def __init__(self, *values: Any, **options: Any) -> None:
        self.alone = threading.RLock()  # a function that SQLite calls may use the connection, too
        super().__init__(*values, **options)

    def cursor(self, factory: Any = None) -> Any:
        """As on every connection."""
        with self.alone:
            return super().cursor(UsersCursor if factory is None else _kept_alone(factory))

    def execute(self, statement: str, values: Any = (), /) -> sqlite3.Cursor:
        """As on every connection."""
        if not self.ended:  # a cursor that `sqlite3` makes by itself would be read without the lock
            return self.cursor().execute(statement, values)  # type: ignore[no-any-return]
        with self.alone:
            return super().execute(statement, values)  # type: ignore[no-any-return]

    def executemany(self, statement: str, rows: Iterable[Any], /) -> sqlite3.Cursor:
        """As on every connection."""
        return self.cursor().executemany(statement, rows)  # type: ignore[no-any-return]

    def executescript(self, script: str, /) -> sqlite3.Cursor:
        """As on every connection."""
        return self.cursor().executescript(script)  # type: ignore[no-any-return]

    def commit(self) -> None:
        """Refused: the transaction is committed when the function returns."""
        if not self.ended:
            _refuse()
        super().commit()

    def rollback(self) -> None:
        """Refused: the transaction is rolled back when the function raises."""
        _refuse()

    def close(self) -> None:
        """Refused until the function has returned."""
        if not self.ended:
            _refuse()
        super().close()

    def __exit__(self, *_error: object) -> NoReturn:
        _refuse()

    def __del__(self) -> None:
        self.ended = True
        self.close()


def _refuse() -> NoReturn:
    raise StepflowError(BELONGS)


class _Alone:
    """What cursors on such a connection do; mixed into the class of cursors that a function wants."""

    connection: SqliteUsersConnection

    def executemany(self, statement: str, rows: Iterable[Any], /) -> Any:
        """As on every cursor; while the next values are made, no thread is at work on the connection."""
        with self.connection.alone:
            return super().executemany(statement, self._made(iter(rows)))  # type: ignore[misc]  # of the cursor

    def _made(self, rows: Iterator[Any]) -> Iterator[Any]:
        alone = self.connection.alone
        while True:
            alone.release()
            try:
                values = next(rows, _END)
            finally:
                alone.acquire()
            if values is _END:
                return
            yield values


def _alone(method: Callable[..., Any], lock_of: Callable[[Any], threading._RLock]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: Any, *values: Any, **options: Any) -> Any:
        with lock_of(self):
            return method(self, *values, **options)

    return call


@cache
def _kept_alone(kind: type[sqlite3.Cursor]) -> type[sqlite3.Cursor]:
    """The class of cursors, with the lock of the connection around each call."""
    if not (isinstance(kind, type) and issubclass(kind, sqlite3.Cursor)):
        raise StepflowError(f"cursor(factory={kind!r}): give a subclass of sqlite3.Cursor")
    calls = {name: _alone(getattr(kind, name), lambda cursor: cursor.connection.alone) for name in _OF_CURSOR}
    return type(kind.__name__, (_Alone, kind), calls)


UsersCursor = _kept_alone(sqlite3.Cursor)
for _name in _OF_CONNECTION:
    if hasattr(_Base, _name):
        setattr(SqliteUsersConnection, _name, _alone(getattr(_Base, _name), lambda connection: connection.alone))
