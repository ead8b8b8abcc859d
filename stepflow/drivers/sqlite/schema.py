"""schema: the tables of a new file, and the numbered migrations of an older one, applied when a store is opened."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from stepflow.drivers.sqlite.delays import remember
from stepflow.drivers.sqlite.meta import damaged, number_of
from stepflow.errors import SchemaMismatch, StoreError

SHARDS = 1  # SQLite has one writer: more shards have no effect
PAST_LABELS = 2  # the migration that adds the table of former labels
OLDEST = (3, 33, 0)  # older versions are not tested


def migrations() -> list[tuple[int, str]]:
    """(number, SQL) of every migration in order."""
    return sorted((_number_of(file.name), file.read_text("utf-8")) for file in _folder().iterdir())


def tables() -> str:
    """The SQL that makes at once what all migrations make one after another."""
    return (files("stepflow.drivers.sqlite") / "schema.sql").read_text("utf-8")


@cache
def newest() -> int:
    """The number of the last migration that this version knows; no script is read for that."""
    return max(_number_of(file.name) for file in _folder().iterdir())


def _folder() -> Traversable:
    return files("stepflow.drivers.sqlite") / "migrations"


def _number_of(name: str) -> int:
    return int(name.partition("_")[0])


def statements(script: str) -> Iterator[str]:
    """The statements of a script; `executescript` would commit the transaction it runs in."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def version(connection: sqlite3.Connection) -> int:
    """The number of the last migration of the file, 0 for none."""
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'stepflow_meta'").fetchone()
    last = number_of(connection, "schema") if found else 0
    if found and last < 1:
        raise damaged(connection, "schema")
    return last


def check(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file has the newest known schema. Raises SchemaMismatch when the schema of the file is newer."""
    last = version(connection)
    if last > newest():
        raise SchemaMismatch(
            f"{path} has schema {last}, this version of stepflow knows {newest()}: "
            "update stepflow here, or use another file; nothing was changed"
        )
    if last and (shards := number_of(connection, "shards")) != SHARDS:
        raise SchemaMismatch(f"{path} has {shards} shards, SQLite stores have {SHARDS}")
    return last == newest()


def note(number: int) -> str:
    """The statement that stores the number of the last migration."""
    return f"UPDATE stepflow_meta SET value = {number} WHERE name = 'schema'"  # noqa: S608 - an integer of ours


def migrate(connection: sqlite3.Connection) -> None:
    """Make the tables of a new file, or apply the missing migrations, inside the caller's write transaction."""
    last = version(connection)
    for number, script in migrations() if last else [(newest(), tables())]:
        if number > last:
            for statement in statements(script):
                connection.execute(statement)
            if number == PAST_LABELS:
                remember(connection)
            connection.execute(note(number))


def require_sqlite() -> None:
    """Raises StoreError when Python's SQLite library is too old."""
    if sqlite3.sqlite_version_info < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise StoreError(f"Python is linked with SQLite {sqlite3.sqlite_version}; stepflow needs {wanted} or newer")
