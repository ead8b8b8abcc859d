"""The inbox on PostgreSQL: starts and publishes that are posted through a caller's own transaction, applied by the next session."""

from __future__ import annotations

from typing import Any

import psycopg

from stepflow.drivers.port.commit import Commit
from stepflow.drivers.port.inbox import dump
from stepflow.drivers.postgres.arrays import stored
from stepflow.drivers.postgres.errors import member_error, translate
from stepflow.drivers.postgres.url import ServerTarget
from stepflow.errors import StoreError

# Nothing is inserted, and nothing goes wrong in the caller's transaction, where the store is another one.
HERE = "select to_regclass(%(table)s) is not null"
POST = (
    "insert into stepflow.inbox (shard, seq, body) select %(shard)s, nextval('stepflow.posts'), %(body)s"
    " where exists (select 1 from stepflow.meta where name = 'store' and value = %(store)s)"
)
OLDEST = "select seq, body from stepflow.inbox where shard = $1 order by seq limit $2 for update"
DONE = "delete from stepflow.inbox where shard = $1 and seq = any($2::bigint[])"


def body_of(commit: Commit) -> str:
    """The JSON text of a commit. Raises StoreError for one that cannot be posted."""
    body = stored(dump(commit))
    try:
        body.encode()
    except UnicodeEncodeError as error:
        raise member_error(error) from error
    return body


def post(tx: Any, place: ServerTarget, store: int, shard: str, body: str) -> None:
    """Insert a commit through the caller's transaction; it takes place if that is committed."""
    cursor = _cursor(tx)
    elsewhere = StoreError(f"tx= is a connection to another database than the engine's store {place.url}")
    quoted = f'"{place.schema}".'
    try:
        cursor.execute(HERE, {"table": f"{quoted}inbox"})
        if not cursor.fetchone()[0]:
            raise elsewhere
        cursor.execute(POST.replace("stepflow.", quoted), {"shard": shard, "body": body, "store": store})
        if cursor.rowcount != 1:
            raise elsewhere
    except psycopg.Error as error:
        raise translate(error, place.url) from error


def _cursor(tx: Any) -> Any:
    """A DB-API cursor in the transaction of `tx`: a psycopg connection or cursor, a SQLAlchemy Connection or Session."""
    connection = getattr(tx, "connection", None)
    if callable(connection):  # a SQLAlchemy Session
        return _cursor(connection())
    if hasattr(tx, "exec_driver_sql"):
        return _SqlAlchemy(tx)
    if isinstance(tx, psycopg.Cursor):
        return _cursor(tx.connection)
    if not isinstance(tx, psycopg.Connection):
        raise StoreError(
            f"tx={tx!r:.100} is no connection of psycopg: give a psycopg.Connection, or a SQLAlchemy Connection or Session"
        )
    if tx.autocommit and tx.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
        raise StoreError("tx= has no open transaction: begin one (`with connection.transaction():`), call this inside")
    return psycopg.Cursor(tx)


class _SqlAlchemy:
    """A SQLAlchemy Connection with the three words of a cursor that are needed; so SQLAlchemy knows of the work."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._result: Any = None

    def execute(self, text: str, values: dict[str, object]) -> None:
        self._result = self._connection.exec_driver_sql(text, values)

    def fetchone(self) -> Any:
        return self._result.fetchone()

    @property
    def rowcount(self) -> int:
        return int(self._result.rowcount)
