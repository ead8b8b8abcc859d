"""SQLite files of the peers: checked for synchronous=FULL before, their rows counted by a fresh connection after."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def new_file(path: Path, *, wal: bool) -> Path:
    """The path of a database; with `wal` it is made in WAL mode, which every later connection keeps.

    Without a pragma SQLite opens files with synchronous=FULL, unless it was built otherwise, and then this raises.
    """
    with closing(sqlite3.connect(path)) as connection:
        if wal:
            connection.execute("pragma journal_mode = wal")
            connection.execute("create table bench_marker (x)")
    with closing(sqlite3.connect(path)) as connection:
        level = connection.execute("pragma synchronous").fetchone()[0]
    if level < 2:
        raise RuntimeError(f"this SQLite opens files with synchronous={level}, so peers would not be durable")
    return path


def count_rows(path: Path, table: str, where: str = "1") -> int:
    """The rows that a connection opened now finds in `table`."""
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"select count(*) from {table} where {where}").fetchone()[0])
