"""inbox: stores starts and publishes through a caller's transaction; the next session applies them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stepflow.drivers.port.commit import Commit
from stepflow.drivers.port.inbox import dump, parse
from stepflow.drivers.sqlite.commit import CommitApplier
from stepflow.drivers.sqlite.errors import MEMBER_ERRORS, member_error, translate
from stepflow.drivers.sqlite.rows import HEAD, head
from stepflow.errors import StoreError

WAITING = "EXISTS (SELECT 1 FROM stepflow_inbox)"


def connection_of(tx: Any) -> sqlite3.Connection:
    """The sqlite3 connection of `tx`: itself, or that of a SQLAlchemy Connection or Session."""
    for unwrap in (_itself, _driver_connection, _session_connection):
        found = unwrap(tx)
        if isinstance(found, sqlite3.Connection):
            return found
    raise StoreError(
        f"tx={tx!r:.100} is no sqlite3 connection: give a sqlite3.Connection, or a SQLAlchemy Connection or Session"
    )


def _itself(tx: Any) -> Any:
    return tx


def _driver_connection(tx: Any) -> Any:
    return getattr(getattr(tx, "connection", None), "driver_connection", None)


def _session_connection(tx: Any) -> Any:
    connect: Callable[[], Any] | None = getattr(tx, "connection", None)
    return _driver_connection(connect()) if callable(connect) else None


def post(tx: Any, path: Path, shard: str, commit: Commit) -> None:
    """Insert the commit through the caller's transaction; it is applied after that transaction has committed."""
    body = dump(commit)
    connection = connection_of(tx)
    _require_same_file(connection, path)
    if not connection.in_transaction and connection.isolation_level is None:
        raise StoreError("tx= has no open transaction: begin one, call this, then commit")
    try:
        connection.execute("INSERT INTO stepflow_inbox (shard, body) VALUES (?, ?)", (shard, body))
    except MEMBER_ERRORS as error:
        raise member_error(error) from error
    except sqlite3.Error as error:
        raise translate(error, path) from error


def _require_same_file(connection: sqlite3.Connection, path: Path) -> None:
    files = {row[1]: row[2] for row in connection.execute("PRAGMA database_list")}
    main = files.get("main") or ""
    if not main or not Path(main).exists() or not Path(main).samefile(path):
        raise StoreError(
            f"tx= is on {main or 'an in-memory database'}, the engine's store is {path}: both must be one file"
        )


def waiting(connection: sqlite3.Connection) -> bool:
    """Whether the inbox has commits that are not applied yet."""
    return bool(connection.execute(f"SELECT {WAITING}").fetchone()[0])


def look(connection: sqlite3.Connection) -> tuple[bool, int]:
    """Whether the inbox is `waiting`, and the newest revision of the store, in one statement before every write."""
    rev, posted = connection.execute(f"{HEAD}, {WAITING}").fetchone()
    return bool(posted), rev


def drain(connection: sqlite3.Connection) -> None:
    """Apply all posted commits in order, with the time of their post; those that are no longer possible are dropped."""
    rows = connection.execute("SELECT seq, shard, body FROM stepflow_inbox ORDER BY seq").fetchall()
    for seq, shard, body in rows:
        commit, now = parse(body)
        CommitApplier(connection, shard, now, head(connection), "").apply(commit)
        connection.execute("DELETE FROM stepflow_inbox WHERE seq = ?", (seq,))
