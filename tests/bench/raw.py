"""The raw limit: stdlib sqlite3 on stepflow's own schema, one row updated and one row inserted per step.

With `fenced` the update also checks the epoch in the run's queue row, as the driver does.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
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
FENCED = f"{UPDATE} and exists (select 1 from stepflow_queue q where q.shard = '/0' and q.id = stepflow_states.id and q.epoch = ?)"
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


def _creation(connection: sqlite3.Connection, table: str, given: Mapping[str, str]) -> str:
    """An insert of the `given` values; the other columns without a default get a plain value."""
    plain = {"TEXT": "''", "INTEGER": str(NOW)}
    values = {
        name: plain[kind]
        for _, name, kind, required, default, _ in connection.execute(f"pragma table_info({table})")
        if required and default is None
    }
    values |= {"shard": "'/0'", "id": ":id", **given}
    return f"insert into {table} ({', '.join(values)}) values ({', '.join(values.values())})"


def _prepare(connection: sqlite3.Connection, runs: int) -> None:
    """The schema, and `runs` new runs with their first revision, as a start and a claim would have left them."""
    connection.execute("begin immediate")
    migrate(connection)
    begun = [(n + 1, f"run-{n:06}", 0, TEXTS[0], NOW) for n in range(runs)]
    connection.executemany(INSERT, begun)
    creations = [{"id": run, "rev": rev, "text": text} for rev, run, _, text, _ in begun]
    state = {"rev": ":rev", "transition": ":text", "labels": "'{}'", "annotations": "'{}'"}
    connection.executemany(_creation(connection, "stepflow_states", state), creations)
    row = {"flow": "'bench'", "owner": "'raw'", "epoch": ":rev"}
    connection.executemany(_creation(connection, "stepflow_queue", row), creations)
    connection.execute("commit")


def _commits(runs: int, batch: int, fenced: bool) -> Iterator[tuple[Rows, Rows]]:
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
                updates.append((rev, text, NOW + rev, run, last, *((n + 1,) if fenced else ())))
                inserts.append((rev, run, last, text, NOW + rev))
            yield updates, inserts


def _write(connection: sqlite3.Connection, update: str, updates: Rows, inserts: Rows) -> None:
    connection.execute("begin immediate")
    if len(updates) == 1:
        connection.execute(update, updates[0])
        connection.execute(INSERT, inserts[0])
    else:
        connection.executemany(update, updates)
        connection.executemany(INSERT, inserts)
    connection.execute("commit")


def measure(folder: Path, *, runs: int, batch: int, synchronous: str = "full", fenced: bool = False) -> dict[str, Any]:
    """Steps per second with `batch` steps in one commit; `synchronous` is "full" or "normal"."""
    path = folder / "raw.db"
    with closing(_open(path, synchronous)) as connection:
        _prepare(connection, runs)
        commits, update = list(_commits(runs, batch, fenced)), FENCED if fenced else UPDATE
        began = perf_counter()
        for updates, inserts in commits:
            _write(connection, update, updates, inserts)
        spent = perf_counter() - began
    steps = count_rows(path, "stepflow_history", f"rev > {runs}")
    ended = count_rows(path, "stepflow_states", f"transition = '{TEXTS[-1]}'")
    return {"value": steps / spent, "steps": min(steps, ended * STEPS), "expected": runs * STEPS}
