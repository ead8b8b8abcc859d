"""Whatever value of whatever row is damaged, all other runs complete, lists and tallies answer, and the damaged value stays as it is."""

from __future__ import annotations

import logging
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from rocksdict import Options, Rdict

from stepflow import (
    Command,
    Context,
    Engine,
    Limit,
    StateCtx,
    Status,
    StepflowError,
    commit,
    delay,
    flow,
    named,
    park,
    workflow,
)
from stepflow.drivers.registry import driver_for
from stepflow.drivers.rocksdb.keys import Keys
from stepflow.testing import VirtualClock
from tests.postgres.server import Server


def put(order: dict[str, Any], number: int) -> None:
    order["go"] = number


def double(number: int) -> int:
    return 2 * number


ORDER = named("order.v1", dict).do("bill", lambda order: order.update(billed=True)).compile()
WAITS = named("waits.v1", dict).wait_event("go", "go", int, put).compile()


@workflow("report.v1")
def report(wf: Context, number: int) -> int:
    return wf.execute("double", double, number) + wf.wait_for_event("wait", "go", int)


@workflow("parent.v1")
def parent(wf: Context, number: int) -> int:
    return wf.result("result", wf.start_child("report", report, number))


@flow("later.v1")
def later(ctx: StateCtx) -> Command:
    return commit(park(ctx))


FLOWS = (ORDER, WAITS, report, parent, later)
WAITING = ("waits", "report", "parent/report")
ENDS = dict.fromkeys(("done", "due", "limited", "rated", "asleep", "told", "parent", *WAITING), Status.COMPLETED)
ENDS["timer"] = Status.PARKED


def prepare(url: str, clock: VirtualClock) -> None:
    """Runs of all styles, so that nearly all tables have rows."""
    with Engine(url, clock=clock) as engine:
        engine.register(*FLOWS)
        engine.start(ORDER, {}, id="done", labels={"shop": "a"})
        engine.start(WAITS, {}, id="waits", labels={"shop": "a"})
        engine.start(WAITS, {}, id="told")
        engine.start(report, 1, id="report")
        engine.start(parent, 1, id="parent")
        engine.run_until_idle()
        engine.get("told").publish("go", 1)
        engine.do(delay(StateCtx("timer"), "later.v1", timedelta(seconds=60)))
        engine.schedule("daily", ORDER, {}, cron="0 4 * * *")
        engine.pause_flow("other.v1")
        engine.start(ORDER, {}, id="due", labels={"shop": "a"}, priority=1, dedup_key="once")
        engine.start(ORDER, {}, id="limited", limits=[Limit("shop", 1)])
        engine.start(ORDER, {}, id="rated", limits=[Limit("rate", rate=5, per=1)])
        engine.start(ORDER, {}, id="asleep", at=clock.datetime() + timedelta(seconds=30))


def go_on(url: str, victim: str) -> tuple[str, dict[str, str | None]]:
    """Let all runs go on. The status of the damaged one, and those of others that do not end as they shall, though they do not wait for it."""
    clock = VirtualClock()
    with Engine(url, clock=clock) as engine:
        engine.register(*FLOWS)
        engine.run_until_idle()
        for name in WAITING:
            with suppress(*[StepflowError] if name == victim else []):
                engine.get(name).publish("go", 1)
        for _time in range(2):
            engine.run_until_idle()
            clock.advance(120)
        engine.run_until_idle()
        found = {run.id: str(run.status) for run in engine.runs(limit=1000)}
        engine.tally()
        if victim in found:
            with suppress(StepflowError):
                engine.get(victim).explain()
        beside = {victim, "parent"} if victim == "parent/report" else {victim}
        wrong = {name: found.get(name) for name, end in ENDS.items() if found.get(name) != end and name not in beside}
        return found.get(victim, ""), wrong


class Place(NamedTuple):
    """A value of a store: of this column, or this kind of record, in this row; it belongs to a run."""

    table: str
    column: str
    key: Any
    run: str


class SqliteFile:
    """A SQLite store, and a copy of its file as it was."""

    def __init__(self, folder: Path) -> None:
        self._path, self._whole = folder / "runs.db", folder / "whole.db"
        self.url = f"sqlite:///{self._path}"

    def _execute(self, statement: str, *values: object) -> list[Any]:
        with closing(sqlite3.connect(self._path)) as program, program:
            return program.execute(statement, values).fetchall()

    def keep(self) -> None:
        """Copy the store as it is."""
        self._execute("VACUUM INTO ?", str(self._whole))

    def restore(self) -> None:
        """Let the store be what was kept."""
        for more in ("-wal", "-shm"):
            self._path.with_name(self._path.name + more).unlink(missing_ok=True)
        shutil.copy(self._whole, self._path)

    def places(self) -> Iterator[list[Place]]:
        """The places of each column."""
        for (table,) in self._execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'stepflow%'"):
            columns = [one[1] for one in self._execute(f"PRAGMA table_info({table})")]
            rows = [dict(zip(columns, row, strict=True)) for row in self._execute(f"SELECT * FROM {table}")]
            for column in columns:
                yield [Place(table.removeprefix("stepflow_"), column, row, run_of(row)) for row in rows]

    def damage(self, place: Place, value: object) -> bool:
        """Whether the store takes this value there."""
        where = " AND ".join(f"{name} IS ?" for name in place.key)
        statement = f"UPDATE stepflow_{place.table} SET {place.column} = ? WHERE {where}"
        try:
            self._execute(statement, value, *place.key.values())
        except sqlite3.Error:
            return False
        return True

    def has(self, place: Place, value: object) -> bool:
        """Whether the value is still there."""
        return bool(self._execute(f"SELECT 1 FROM stepflow_{place.table} WHERE {place.column} = ?", value))


class PostgresSchema:
    """A schema of a PostgreSQL server, and copies of its rows as they were."""

    def __init__(self, server: Server) -> None:
        self.url = server.url()
        self._where, self._schema = self.url.split("&schema=")
        self._whole: dict[str, list[Any]] = {}

    def _execute(self, *statements: tuple[Any, ...]) -> list[Any]:
        with psycopg.connect(self._where) as program:
            for statement, *values in statements:
                cursor = program.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def keep(self) -> None:
        """Copy the store as it is."""
        tables = "select tablename from pg_tables where schemaname = %s order by 1"
        self._tables = [name for (name,) in self._execute((tables, self._schema))]
        self._execute(
            *[(f"create table {self._schema}_{name} as table {self._schema}.{name}",) for name in self._tables]
        )

    def restore(self) -> None:
        """Let the store be what was kept."""
        whole = [(f"insert into {self._schema}.{name} table {self._schema}_{name}",) for name in self._tables]
        self._execute(*[(f"delete from {self._schema}.{name}",) for name in self._tables], *whole)

    def places(self) -> Iterator[list[Place]]:
        """The places of each column of texts; all others take nothing but numbers."""
        types = "select column_name from information_schema.columns where table_schema = %s and table_name = %s and data_type = 'text' order by 1"
        for table in self._tables:
            rows = self._execute((f"select row_to_json(t) from {self._schema}.{table} t",))
            for (column,) in self._execute((types, self._schema, table)):
                yield [Place(table, column, row, run_of(row)) for (row,) in rows]

    def damage(self, place: Place, value: object) -> bool:
        """Whether the store takes this value there."""
        known = {name: one for name, one in place.key.items() if one is not None}
        where = " and ".join(f"{name} = %s" for name in known)
        try:
            self._execute(
                (f"update {self._schema}.{place.table} set {place.column} = %s where {where}", value, *known.values())
            )
        except psycopg.Error:
            return False
        return True

    def has(self, place: Place, value: object) -> bool:
        """Whether the value is still there."""
        return bool(self._execute((f"select 1 from {self._schema}.{place.table} where {place.column} = %s", value)))


class RocksdbFolder:
    """A RocksDB store, and a copy of its folder as it was."""

    def __init__(self, folder: Path) -> None:
        self._path, self._whole = folder / "store", folder / "whole"
        self.url = f"rocksdb:///{self._path}"

    def keep(self) -> None:
        """Copy the store as it is."""
        shutil.copytree(self._path, self._whole)

    def restore(self) -> None:
        """Let the store be what was kept."""
        shutil.rmtree(self._path)
        shutil.copytree(self._whole, self._path)

    def _db(self) -> Rdict:
        return Rdict(str(self._path), Options(raw_mode=True))

    def places(self) -> Iterator[list[Place]]:
        """The records of each kind."""
        with closing(self._db()) as db:
            keys = [key for key in db.keys() if isinstance(key, bytes)]  # noqa: SIM118 - it is no dict
        for kind, prefix in vars(Keys("")).items():
            if isinstance(prefix, bytes) and kind != "shard":
                yield [Place(kind, "record", key, run_in(key)) for key in keys if key.startswith(prefix)]

    def damage(self, place: Place, value: bytes) -> bool:
        """Whether the store takes this value there."""
        with closing(self._db()) as db:
            db[place.key] = value
        return True

    def has(self, place: Place, value: bytes) -> bool:
        """Whether the value is still there."""
        with closing(self._db()) as db:
            return db.get(place.key) == value


def run_of(row: dict[str, Any]) -> str:
    found = row.get("run_id") or row.get("id") or row.get("key") or ""
    return str(found).partition("\0")[0]


def run_in(key: bytes) -> str:
    """The run whose id is in a key of RocksDB."""
    return max((name for name in ENDS if name.encode() in key), key=len, default="")


SAMPLE = {
    "sqlite": 24,
    "rocksdb": 16,
    "postgres": 8,
}  # columns beside those of the queue; an engine opens slowest on a server
VALUES = {"sqlite": ("garbage", b"\xff\xfe"), "postgres": ("garbage",), "rocksdb": (b"garbage", b"[1,1]")}
STORES: dict[str, type[SqliteFile] | type[RocksdbFolder]] = {"sqlite": SqliteFile, "rocksdb": RocksdbFolder}
VITAL = ("due", "record")  # no claim takes a row of which this cannot be read
LEFT_OUT = {
    "meta": "holds for the whole store, which is refused when it is opened, or as soon as it is used",
}


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "rocksdb"])
def test_a_damaged_value_keeps_no_other_run_from_anything(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "stepflow")  # a record with a traceback would keep RocksDB open
    store: Any = PostgresSchema(request.getfixturevalue("postgres")) if kind == "postgres" else STORES[kind](tmp_path)
    prepare(store.url, VirtualClock())
    store.keep()
    chance = random.Random(kind)
    columns = [places for places in store.places() if places and places[0].table not in LEFT_OUT]
    # All columns of the queue, in which everything is looked for, and some of the others.
    queue = [places for places in columns if places[0].table == "queue"]
    assert go_on(store.url, "") == ("", {})
    for places in [*queue, *chance.sample(columns, SAMPLE[kind])]:
        store.restore()
        place, value = chance.choice(places), chance.choice(VALUES[kind])
        if not store.damage(place, value):
            continue
        status, wrong = go_on(store.url, place.run)
        assert wrong == {}, (place, value)
        assert status != "blocked" or store.has(place, value), (place, value)


@pytest.mark.parametrize("kind", ["sqlite", "rocksdb"])
def test_wake_writes_a_damaged_row_of_the_queue_anew(kind: str, tmp_path: Path) -> None:
    store, clock = STORES[kind](tmp_path), VirtualClock()
    with Engine(store.url, clock=clock) as engine:
        engine.start(ORDER, {}, id="due", priority=1)
    (place,) = next(some for some in store.places() if some and some[0].table == "queue" and some[0].column in VITAL)
    store.damage(place, VALUES[kind][0])  # type: ignore[arg-type]
    with Engine(store.url, clock=clock) as engine:
        engine.register(ORDER)
        engine.run_until_idle()
        run = engine.get("due")
        blocked = run.info().blocked
        assert blocked is not None
        assert blocked.kind == "unreadable"
        assert "`stepflow wake` writes it anew" in run.explain()
        run.wake()
        engine.run_until_idle()
        assert run.status() is Status.COMPLETED
    assert driver_for(store.url).maintenance("").check() == []
