"""inbox: stores starts and publishes through a caller's transaction; the next session applies them."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import Any

from stepflow.drivers.port.commit import Commit, Created
from stepflow.drivers.port.inbox import dump, parse
from stepflow.drivers.port.pruning import PRUNED, PrunedId
from stepflow.drivers.sqlite.commit import CommitApplier
from stepflow.drivers.sqlite.errors import MEMBER_ERRORS, member_error, translate
from stepflow.drivers.sqlite.rows import HEAD, head
from stepflow.errors import StepflowError, StoreError

KNOWN = "SELECT rev, flow, input_hash, created_at FROM stepflow_states WHERE shard = ? AND id = ?"
WAITING = "EXISTS (SELECT 1 FROM stepflow_inbox)"


log = logging.getLogger("stepflow")
TAKEN = "give a sqlite3.Connection, a SQLAlchemy connection or session, or Django's connection"
NONE_OPEN = "tx= has no open transaction: begin one, call this, then commit"


class _ThroughSqlAlchemy:
    """A SQLAlchemy Connection whose driver, such as aiosqlite, is not sqlite3 itself, with what is needed of a sqlite3 one."""

    def __init__(self, connection: Any) -> None:
        self._connection, driver = connection, connection.connection.driver_connection
        self.in_transaction, self.isolation_level = driver.in_transaction, driver.isolation_level

    def execute(self, text: str, values: tuple[object, ...] = ()) -> Any:
        return self._connection.exec_driver_sql(text, values)


def connection_of(tx: Any) -> Any:
    """The sqlite3 connection of `tx`: itself, or that of a SQLAlchemy Connection or Session, or of Django's connection."""
    if hasattr(tx, "in_atomic_block"):
        if not tx.in_atomic_block and tx.get_autocommit():
            raise StoreError("tx= has no open transaction: call this inside `with transaction.atomic():`")
        tx.ensure_connection()
        tx = tx.connection
    elif callable(getattr(tx, "connection", None)):  # a SQLAlchemy Session
        tx = tx.connection()
    if isinstance(tx, sqlite3.Connection):
        return tx
    driver = getattr(getattr(tx, "connection", None), "driver_connection", None)
    if isinstance(driver, sqlite3.Connection):
        return driver
    if driver is not None and getattr(getattr(tx, "dialect", None), "name", "") == "sqlite":
        return _ThroughSqlAlchemy(tx)
    raise StoreError(f"tx={tx!r:.100} is no connection to SQLite that stepflow takes: {TAKEN}")


def post(tx: Any, path: Path, shard: str, commit: Commit) -> Created | PrunedId | None:
    """Insert the commit through the caller's transaction; it is applied after that transaction has committed.

    Of a run that exists already, or was pruned, only how.
    """
    body = dump(commit)
    connection = connection_of(tx)
    _require_same_file(connection, path)
    if not connection.in_transaction and not _begins_by_itself(connection):
        raise StoreError(NONE_OPEN)
    try:
        for write in commit.writes:
            if found := connection.execute(KNOWN, (shard, write.state.id)).fetchone():
                rev, *created = found
                return PrunedId(write.state.id, *created[1:]) if rev == PRUNED else Created(*created)
        connection.execute("INSERT INTO stepflow_inbox (shard, body) VALUES (?, ?)", (shard, body))
    except MEMBER_ERRORS as error:
        raise member_error(error) from error
    except sqlite3.Error as error:
        raise translate(error, path) from error
    return None


def _begins_by_itself(connection: Any) -> bool:
    """Whether an INSERT begins a transaction: not with isolation_level None, nor with autocommit=True (Python 3.12+)."""
    return connection.isolation_level is not None and getattr(connection, "autocommit", False) is not True


def _require_same_file(connection: Any, path: Path) -> None:
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
    """Apply all posted commits in order, with the time of their post; those that are no longer possible are logged."""
    rows = connection.execute("SELECT seq, shard, body FROM stepflow_inbox ORDER BY seq").fetchall()
    for seq, shard, body in rows:
        commit, now = parse(body)
        refusal = CommitApplier(connection, shard, now, head(connection), "").apply(commit)
        if isinstance(refusal, StepflowError):
            _log_refusal(connection, shard, commit, refusal)
        connection.execute("DELETE FROM stepflow_inbox WHERE seq = ?", (seq,))


def _log_refusal(connection: sqlite3.Connection, shard: str, commit: Commit, refusal: StepflowError) -> None:
    """Log that a posted commit was not applied, unless all its runs exist as it would have created them."""
    for write in commit.writes:
        there = connection.execute(KNOWN, (shard, write.state.id)).fetchone()
        if write.created is None or there is None or there[1:3] != (write.created.flow, write.created.input_hash):
            names = {"event": "conflict", "run_id": write.state.id}
            text = "run %s was started through a caller's transaction, but the start cannot be applied: %s"
            log.error(text, write.state.id, refusal, extra=names)
