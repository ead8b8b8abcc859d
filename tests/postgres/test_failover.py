"""A store that lost its newest revisions, as after a failover to a standby that lagged: every watch hears of it once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from stepflow import Engine, RevisionsLost, named
from stepflow.drivers.postgres import PostgresDriver
from tests.postgres.server import Server

flow = named("q").do("a", lambda: None).do("b", lambda: None).compile()
PER_RUN = 3


class Backup:
    """The tables and sequences of a schema as they were when this was made."""

    def __init__(self, server: Server, schema: str) -> None:
        self._uri, self._schema, self._old = server.uri, schema, f"{schema}_old"
        with psycopg.connect(server.uri) as connection:
            connection.execute(f"create schema {self._old}")
            for table in self._names(connection, "r"):
                connection.execute(f"create table {self._old}.{table} as table {schema}.{table}")
            self._last = {
                name: connection.execute(f"select last_value, is_called from {schema}.{name}").fetchone()
                for name in self._names(connection, "S")
            }

    def _names(self, connection: Any, kind: str) -> list[str]:
        query = "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = %s and c.relkind = %s"
        return [row[0] for row in connection.execute(query, (self._schema, kind))]

    def restore(self) -> None:
        with psycopg.connect(self._uri) as connection:
            tables = self._names(connection, "r")
            connection.execute("truncate " + ", ".join(f"{self._schema}.{table}" for table in tables))
            for table in tables:
                connection.execute(f"insert into {self._schema}.{table} select * from {self._old}.{table}")
            for name, values in self._last.items():
                assert values is not None
                connection.execute("select setval(%s::regclass, %s, %s)", (f"{self._schema}.{name}", *values))


@pytest.fixture
def schema(server: Server) -> str:
    return server.schema()


@pytest.fixture
def engine(server: Server, schema: str) -> Iterator[Engine]:
    with Engine(server.url(schema)) as engine:
        engine.register(flow)
        yield engine


def work(engine: Engine, name: str, runs: int) -> None:
    engine.start_many(flow, [(f"{name}{n}", None) for n in range(runs)])
    engine.run_until_idle()


def read(watch: Any, wanted: int) -> list[Any]:
    return [watch.next(60) for _ in range(wanted)]


@pytest.mark.parametrize("after", [0, 2, 40])
def test_every_watch_hears_that_the_store_went_back(server: Server, schema: str, engine: Engine, after: int) -> None:
    """Whether the new primary has overtaken the old one by then, or not."""
    early, late = engine.watch(since=0), engine.watch(since=0)
    work(engine, "kept", 2)
    backup = Backup(server, schema)
    kept = [(state.id, state.rev) for state in read(early, 2 * PER_RUN)]
    new = engine.watch(since="latest")
    assert [(state.id, state.rev) for state in read(new, 1)] == kept[-1:]
    work(engine, "lost", 10)
    read(early, 10 * PER_RUN)
    read(late, 2 * PER_RUN)
    read(new, 10 * PER_RUN)
    backup.restore()
    if after:
        with Engine(server.url(schema)) as other:
            other.register(flow)
            work(other, "new", after)
    server.restart()
    last = kept[-1][1]
    for watch in (early, new, late):
        with pytest.raises(RevisionsLost, match=f"revision {last} ") as caught:
            read(watch, 1)
        assert caught.value.rev == last
    work(engine, "more", 1)
    wanted = (after + 1) * PER_RUN
    for watch in (early, new, late):
        found = read(watch, wanted)
        assert not any(state.id.startswith(("lost", "kept")) for state in found)
        assert len({(state.id, state.rev) for state in found}) == wanted


def test_a_watch_that_began_after_the_loss_hears_the_same(server: Server, schema: str, engine: Engine) -> None:
    """Its engine has no revision in memory."""
    work(engine, "kept", 2)
    last = max(entry.rev for run in ("kept0", "kept1") for entry in engine.get(run).history())
    backup = Backup(server, schema)
    work(engine, "lost", 10)
    watch = engine.watch(since=0)
    read(watch, 12 * PER_RUN)
    backup.restore()
    with Engine(server.url(schema)) as other:
        other.register(flow)
        work(other, "new", 3)
    server.restart()
    with pytest.raises(RevisionsLost) as caught:
        read(watch, 1)
    assert caught.value.rev == last
    assert {state.id[:3] for state in read(watch, 3 * PER_RUN)} == {"new"}


def test_a_watch_of_what_is_still_there_hears_nothing(server: Server, schema: str, engine: Engine) -> None:
    watch, slow = engine.watch(since=0), engine.watch(since=0)
    work(engine, "kept", 5)
    backup = Backup(server, schema)
    assert [state.id[:4] for state in read(slow, 1)] == ["kept"]
    work(engine, "lost", 5)
    read(watch, 10 * PER_RUN)
    backup.restore()
    server.restart()
    with pytest.raises(RevisionsLost):
        read(watch, 1)
    work(engine, "new", 1)
    found = read(watch, PER_RUN)
    assert {state.id for state in found} == {"new0"}


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_loses_nothing(server: Server, engine: Engine, mode: str) -> None:
    watch = engine.watch(since=0)
    work(engine, "a", 3)
    read(watch, 3 * PER_RUN)
    server.restart(mode)
    work(engine, "b", 3)
    assert [state.id[0] for state in read(watch, 3 * PER_RUN)] == ["b"] * 3 * PER_RUN


def test_a_restart_after_everything_was_pruned_loses_nothing(server: Server, schema: str, engine: Engine) -> None:
    watch = engine.watch(since=0)
    work(engine, "a", 3)
    read(watch, 3 * PER_RUN)
    assert PostgresDriver(server.url(schema)).maintenance("").prune(1 << 62, 100) == 3
    server.restart()
    work(engine, "b", 3)
    assert [state.id[0] for state in read(watch, 3 * PER_RUN)] == ["b"] * 3 * PER_RUN
