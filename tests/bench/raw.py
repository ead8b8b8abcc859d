"""The raw limit: stdlib sqlite3 on stepflow's own schema, one row updated and one row inserted per step."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import Any

from stepflow.drivers.sqlite.schema import migrate
from tests.bench.store import count_rows

STEPS = 10
NOW = 1_760_000_000_000_000
TEXTS = [f'{{"annotations":{{"stepflow.state":"[\\"bench/s{n}\\"]"}},"to":"bench"}}' for n in range(STEPS)]
UPDATE = (
    "update stepflow_states set rev = ?, transition = ?, committed_at = ? where shard = '/0' and id = ? and rev = ?"
)
INSERT = (
    "insert into stepflow_history (rev, shard, id, prev, transition, labels, annotations, committed_at)"
    " values (?, '/0', ?, ?, ?, '{}', '{}', ?)"
)
Rows = list[tuple[Any, ...]]


def _open(path: Path, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma journal_mode = wal")
    connection.execute(f"pragma synchronous = {synchronous}")
    connection.execute("pragma cache_size = -16384")  # KiB, as the driver sets it
    return connection


def _birth(connection: sqlite3.Connection) -> str:
    """An insert of `:id, :rev, :text` into the states; the other columns without a default get a plain value."""
    plain = {"TEXT": "''", "INTEGER": str(NOW)}
    values = {
        name: plain[kind]
        for _, name, kind, required, default, _ in connection.execute("pragma table_info(stepflow_states)")
        if required and default is None
    }
    values |= {
        "shard": "'/0'",
        "id": ":id",
        "rev": ":rev",
        "transition": ":text",
        "labels": "'{}'",
        "annotations": "'{}'",
    }
    return f"insert into stepflow_states ({', '.join(values)}) values ({', '.join(values.values())})"


def _prepare(connection: sqlite3.Connection, runs: int) -> None:
    """The schema, and `runs` new runs with their first revision, as a start would have left them."""
    connection.execute("begin immediate")
    migrate(connection)
    begun = [(n + 1, f"run-{n:06}", 0, TEXTS[0], NOW) for n in range(runs)]
    connection.executemany(INSERT, begun)
    births = [{"id": run, "rev": rev, "text": text} for rev, run, _, text, _ in begun]
    connection.executemany(_birth(connection), births)
    connection.execute("commit")


def _commits(runs: int, batch: int) -> Iterator[tuple[Rows, Rows]]:
    """The rows of one commit after the other: `batch` runs at a time go through their ten steps side by side."""
    rev = runs
    for first in range(0, runs, batch):
        wave = range(first, min(first + batch, runs))
        revs = {n: n + 1 for n in wave}
        for text in TEXTS:
            updates: Rows = []
            inserts: Rows = []
            for n in wave:
                rev += 1
                run, last, revs[n] = f"run-{n:06}", revs[n], rev
                updates.append((rev, text, NOW + rev, run, last))
                inserts.append((rev, run, last, text, NOW + rev))
            yield updates, inserts


def _write(connection: sqlite3.Connection, updates: Rows, inserts: Rows) -> None:
    connection.execute("begin immediate")
    if len(updates) == 1:
        connection.execute(UPDATE, updates[0])
        connection.execute(INSERT, inserts[0])
    else:
        connection.executemany(UPDATE, updates)
        connection.executemany(INSERT, inserts)
    connection.execute("commit")


def measure(folder: Path, *, runs: int, batch: int, synchronous: str = "full") -> dict[str, Any]:
    """Steps per second with `batch` steps in one commit; `synchronous` is "full" or "normal"."""
    path = folder / "raw.db"
    with closing(_open(path, synchronous)) as connection:
        _prepare(connection, runs)
        commits = list(_commits(runs, batch))
        began = perf_counter()
        for updates, inserts in commits:
            _write(connection, updates, inserts)
        spent = perf_counter() - began
    steps = count_rows(path, "stepflow_history", f"rev > {runs}")
    return {"value": steps / spent, "steps": steps, "expected": runs * STEPS}
