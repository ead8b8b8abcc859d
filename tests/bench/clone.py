"""Copies the rows that stepflow wrote for one run or delay a million times, by SQL: the fast way to a large store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from attrs import frozen

from stepflow.drivers.port.delays import delay_key
from stepflow.drivers.postgres.arrays import stored
from tests.bench.part import PRIORITIES, STEP, Part, id_of
from tests.bench.target import Target

STEP_US = round(STEP.total_seconds() * 1_000_000)
Row = Mapping[str, Any]


@frozen
class Copier:
    """A connection to the store, and what the two dialects say differently."""

    connection: Any
    table: str
    mark: str
    nul: str
    sqlite: bool

    def rows(self, table: str, column: str, value: str) -> list[Row]:
        """The rows of a table whose column has this value."""
        query = f"select * from {self.table.format(table)} where {column} = {self.mark}"
        cursor = self.connection.execute(query, (value if self.sqlite else stored(value),))
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def number(self, query: str) -> int:
        """One number, 0 for null."""
        return int(self.connection.execute(query).fetchone()[0] or 0)

    def copy(self, table: str, row: Row, changed: Mapping[str, str], times: int) -> None:
        """Insert the row so many times; what is `changed` are expressions of `n`, which counts from 1."""
        values = [changed.get(name, self.mark) for name in row]
        kept = [value for name, value in row.items() if name not in changed]
        self.connection.execute(
            f"insert into {self.table.format(table)} ({', '.join(row)}) with recursive k (n) as"
            f" (select 1 union all select n + 1 from k where n < {times}) select {', '.join(values)} from k",
            kept,
        )

    def epoch(self) -> int:
        """The epoch that was given last."""
        if self.sqlite:
            return self.number("select value from stepflow_meta where name = 'epoch'")
        return self.number("select last_value from stepflow.epochs")

    def given(self, rev: int, epoch: int) -> None:
        """Let nobody get these numbers again."""
        if self.sqlite:
            self.connection.execute("update stepflow_meta set value = ? where name = 'epoch'", (epoch,))
        else:
            self.connection.execute("select setval('stepflow.revs', %s), setval('stepflow.epochs', %s)", (rev, epoch))


@contextmanager
def _copier(at: Target) -> Iterator[Copier]:
    if at.store == "sqlite":
        with closing(sqlite3.connect(at.place, isolation_level=None)) as connection:
            connection.execute("begin")
            yield Copier(connection, "stepflow_{}", "?", "char(0)", sqlite=True)
            connection.execute("commit")
        return
    import psycopg

    with psycopg.connect(at.place) as connection:
        yield Copier(connection, "stepflow.{}", "%s", "E'\\x01\\x02'", sqlite=False)


def part(at: Target, part: Part, times: int) -> None:
    """Copy the first row of a part so many times, as if stepflow had written the others as well."""
    if times:
        with _copier(at) as copier:
            (_delays if part.name == "delays" else _runs)(copier, part, times)


def _spread(part: Part, row: Row) -> dict[str, str]:
    """Due times and priorities of the copies."""
    found = {"due": f"{row['due']} + n * {STEP_US}"} if "due" in row else {}
    if part.mixed and "priority" in row:
        found["priority"] = f"n - n / {PRIORITIES} * {PRIORITIES}"
    return found


def _runs(copier: Copier, part: Part, times: int) -> None:
    first = id_of(part, 0)
    history = copier.rows("history", "id", first)
    head, epoch = copier.number(f"select max(rev) from {copier.table.format('history')}"), copier.epoch()
    oldest = min(row["rev"] for row in history)

    def moved(rev: int) -> str:
        return f"{head + rev - oldest + 1} + (n - 1) * {len(history)}" if rev else "0"

    changes: dict[str, Callable[[Any], str]] = {
        "id": lambda _: f"'{part.name}-' || substr(cast(10000000 + n as text), 2)",
        "rev": moved,
        "prev": moved,
        "exchange_rev": moved,
        "epoch": lambda value: "null" if value is None else f"{epoch} + n",
        "created_at": lambda value: f"{value} + n",
    }
    for table in ("states", "history", "queue"):
        for row in history if table == "history" else copier.rows(table, "id", first):
            changed = {name: change(row[name]) for name, change in changes.items() if name in row}
            copier.copy(table, row, {**changed, **_spread(part, row)}, times)
    copier.given(head + times * len(history), epoch + times)


def _delays(copier: Copier, part: Part, times: int) -> None:
    """Copy the one delay of a State; its offset is 1."""
    run, epoch = id_of(part, 0), copier.epoch()
    key = f"'{run}' || {copier.nul} || (1 + n)"
    (found,) = copier.rows("delays", "run_id", run)
    changed = {"number": "1 + n", "key": key, **_spread(part, found)}
    copier.copy("delays", found, {name: change for name, change in changed.items() if name in found}, times)
    for table in ("queue", "states"):
        for row in copier.rows(table, "id", delay_key(run, 1)):
            changed = {"id": key, "delay": "1 + n", "epoch": f"{epoch} + n", **_spread(part, row)}
            copier.copy(table, row, {name: change for name, change in changed.items() if name in row}, times)
    copier.connection.execute(f"update {copier.table.format('counters')} set last = {1 + times} where name = 'delays'")
    copier.given(copier.number(f"select max(rev) from {copier.table.format('history')}"), epoch + times)


def tidy(at: Target) -> None:
    """Leave the store as the database's own upkeep would after a while."""
    if at.store == "sqlite":
        with closing(sqlite3.connect(at.place)) as connection:
            connection.execute("pragma wal_checkpoint(truncate)")
        return
    import psycopg

    with psycopg.connect(at.place, autocommit=True) as connection:
        connection.execute("vacuum analyze")
        connection.execute("checkpoint")
