"""callers_connection: which connections to PostgreSQL may be given as `tx=`, and how each executes a statement of ours.

What is posted is a dialogue, a generator that yields statements with parameters written `:name`, and is sent their rows; so
one text serves connections that block and those whose statements are awaited.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from typing import Any, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from stepflow.errors import StoreError

T = TypeVar("T")
Rows = list[tuple[Any, ...]]
Dialogue = Generator[tuple[str, Mapping[str, object]], Rows, T]
NAMED = re.compile(r":(\w+)")
NONE_OPEN = "tx= has no open transaction: begin one (`{}`), and call this inside it"
ABORTED = "25P02"
SPOILED = (
    "tx= is a transaction in which a statement has failed, so PostgreSQL does nothing more in it: roll it back, or put statements that may"
    " fail into a savepoint"
)
UNTRANSLATABLE, SHOWN = "22P05", 20
UTF8 = "connect with client_encoding=utf8"
UNREADABLE = (
    "tx= has a client encoding that lacks characters of what is stored, so PostgreSQL does nothing more in this transaction: roll it back,"
    f" and {UTF8}"
)
TAKEN = "give a psycopg, asyncpg, SQLAlchemy or Django connection, or a SQLAlchemy session"


def drive(dialogue: Dialogue[T], tx: Any) -> T:
    """Hold a dialogue with a connection that blocks; raises StoreError if `tx` is none, or has no open transaction."""
    fetch = _fetch(tx)
    try:
        ask = next(dialogue)
        while True:
            ask = dialogue.send(fetch(*ask))
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    except Exception as error:
        _check_sound(error)
        raise


async def adrive(dialogue: Dialogue[T], tx: Any) -> T:
    """Hold a dialogue with psycopg's or asyncpg's asynchronous connection."""
    fetch = _afetch(tx)
    try:
        ask = next(dialogue)
        while True:
            ask = dialogue.send(await fetch(*ask))
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    except Exception as error:
        _check_sound(error)
        raise


def _check_sound(error: BaseException) -> None:
    """Raise StoreError if a statement of the caller's had failed before, or if texts cannot pass: each library has errors of its own for that."""
    causes: list[object] = [error, getattr(error, "orig", None)]
    causes += [getattr(one, "__cause__", None) for one in causes]
    states = {getattr(one, "sqlstate", None) or getattr(one, "pgcode", None) for one in causes}
    if ABORTED in states:
        raise StoreError(SPOILED) from error
    if UNTRANSLATABLE in states:
        raise StoreError(UNREADABLE) from error
    for one in causes:
        if isinstance(one, UnicodeEncodeError) and one.encoding.lower().replace("-", "") != "utf8":
            raise StoreError(_unwritable(one)) from error


def _unwritable(error: UnicodeEncodeError) -> str:
    text, at = error.object, error.start
    around = text[max(at - SHOWN, 0) : at + SHOWN]
    return (
        f"tx= has the client encoding {error.encoding}, which lacks {text[at]!r} (in {around!r}): {UTF8}, or leave such characters out of"
        " ids, labels and values; nothing was written"
    )


def samples(texts: Iterable[str]) -> str:
    """Each character beyond ASCII of some texts, with what is around it: if these can be sent, all of the texts can."""
    found: list[str] = []
    seen: set[str] = set()
    for text in texts:
        for letter in () if text.isascii() else sorted(set(text) - seen):
            if not letter.isascii() and letter not in seen:
                at = text.index(letter)
                found.append(text[max(at - SHOWN, 0) : at + SHOWN])
                seen |= set(found[-1])
    return "\n".join(found)


def _fetch(tx: Any) -> Callable[[str, Mapping[str, object]], Rows]:
    if hasattr(tx, "in_atomic_block"):  # a Django connection
        return _fetch(_django(tx))
    connection = getattr(tx, "connection", None)
    if callable(connection):  # a SQLAlchemy Session
        return _fetch(connection())
    if hasattr(tx, "exec_driver_sql"):
        return _sqlalchemy(tx)
    if isinstance(tx, psycopg.Cursor):
        return _fetch(tx.connection)
    if not isinstance(tx, psycopg.Connection):
        raise StoreError(f"tx={tx!r:.100} is no connection to PostgreSQL that stepflow takes: {TAKEN}")
    _check_psycopg(tx, "with connection.transaction():")
    cursor = psycopg.Cursor(tx, row_factory=tuple_row)

    def fetch(text: str, values: Mapping[str, object]) -> Rows:
        return cursor.execute(NAMED.sub(r"%(\1)s", text), values).fetchall()

    return fetch


def _afetch(tx: Any) -> Callable[[str, Mapping[str, object]], Awaitable[Rows]]:
    if isinstance(tx, psycopg.AsyncCursor):
        return _afetch(tx.connection)
    if isinstance(tx, psycopg.AsyncConnection):
        _check_psycopg(tx, "async with connection.transaction():")
        cursor = psycopg.AsyncCursor(tx, row_factory=tuple_row)

        async def fetch(text: str, values: Mapping[str, object]) -> Rows:
            done = await cursor.execute(NAMED.sub(r"%(\1)s", text), values)
            return await done.fetchall()

        return fetch
    if not callable(getattr(tx, "is_in_transaction", None)):
        raise StoreError(f"tx={tx!r:.100} is no connection to PostgreSQL that stepflow takes: {TAKEN}")
    if not tx.is_in_transaction():
        raise StoreError(NONE_OPEN.format("async with connection.transaction():"))

    async def fetch_asyncpg(text: str, values: Mapping[str, object]) -> Rows:
        names = list(dict.fromkeys(NAMED.findall(text)))
        numbered = NAMED.sub(lambda found: f"${names.index(found[1]) + 1}", text)
        return [tuple(row) for row in await tx.fetch(numbered, *(values[name] for name in names))]

    return fetch_asyncpg


def _check_psycopg(tx: psycopg.Connection[Any] | psycopg.AsyncConnection[Any], begin: str) -> None:
    if tx.closed and not tx.broken:
        raise StoreError("tx= is closed: give an open connection, and call this inside its transaction")
    if tx.autocommit and tx.info.transaction_status == TransactionStatus.IDLE:
        raise StoreError(NONE_OPEN.format(begin))


def _django(tx: Any) -> Any:
    """The connection of the driver below a Django connection that is inside `transaction.atomic()`."""
    if not tx.in_atomic_block and tx.get_autocommit():
        raise StoreError(NONE_OPEN.format("with transaction.atomic():"))
    tx.ensure_connection()
    return tx.connection


def _sqlalchemy(tx: Any) -> Callable[[str, Mapping[str, object]], Rows]:
    """Executes through SQLAlchemy, so that it knows of the transaction, whatever its driver is."""
    from sqlalchemy import text as statement  # noqa: PLC0415 - the caller has it

    if getattr(tx.connection.dbapi_connection, "autocommit", False) is True:
        raise StoreError(
            "tx= is in autocommit mode, a rollback would not undo the start: leave isolation_level AUTOCOMMIT out"
        )

    def fetch(text: str, values: Mapping[str, object]) -> Rows:
        return [tuple(row) for row in tx.execute(statement(text), dict(values))]

    return fetch
