"""tx= on PostgreSQL: asynchronous connections of psycopg, asyncpg and SQLAlchemy, SQLAlchemy's other drivers, and Django's."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy
from psycopg.rows import args_row, dict_row, kwargs_row, namedtuple_row, scalar_row
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from stepflow import AsyncEngine, Engine, RunExists, StoreError, named
from stepflow.drivers.postgres import PostgresDriver
from tests.postgres.server import Server

FLOW = named("x", dict[str, int]).do("a", lambda d: None).compile()
Open = Callable[[Server], AbstractAsyncContextManager[Any]]


@asynccontextmanager
async def psycopg_connection(server: Server) -> Any:
    async with await psycopg.AsyncConnection.connect(server.uri) as connection:
        yield connection, connection.commit, connection.rollback


@asynccontextmanager
async def asyncpg_connection(server: Server) -> Any:
    connection = await asyncpg.connect(server.uri)
    transaction = connection.transaction()
    await transaction.start()
    yield connection, transaction.commit, transaction.rollback
    await connection.close()


@asynccontextmanager
async def asyncpg_of_a_pool(server: Server) -> Any:
    async with asyncpg.create_pool(server.uri, min_size=1, max_size=1) as pool, pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        yield connection, transaction.commit, transaction.rollback


def sqlalchemy_of(driver: str, *, session: bool) -> Open:
    @asynccontextmanager
    async def opened(server: Server) -> Any:
        database = create_async_engine(server.uri.replace("postgresql:", f"postgresql+{driver}:"))
        async with AsyncSession(database) if session else database.connect() as tx:
            yield tx, tx.commit, tx.rollback
        await database.dispose()

    return opened


OPEN: dict[str, Open] = {
    "psycopg": psycopg_connection,
    "asyncpg": asyncpg_connection,
    "asyncpg pool": asyncpg_of_a_pool,
    "AsyncConnection psycopg": sqlalchemy_of("psycopg", session=False),
    "AsyncSession psycopg": sqlalchemy_of("psycopg", session=True),
    "AsyncConnection asyncpg": sqlalchemy_of("asyncpg", session=False),
    "AsyncSession asyncpg": sqlalchemy_of("asyncpg", session=True),
}


@pytest.fixture(params=OPEN)
def opened(request: pytest.FixtureRequest) -> Open:
    return OPEN[request.param]


async def _all_verbs(engine: AsyncEngine, tx: Any) -> None:
    await engine.start(FLOW, {"n": 1}, id="one", labels={"percent": "100 %s :name"}, tx=tx)
    await engine.start_many(FLOW, [("two", {}), ("three", {})], tx=tx)
    await engine.get("one").publish("e", 1, tx=tx)
    await engine.start(FLOW, {}, id="four", tx=tx)
    await engine.get("four").cancel(tx=tx)
    infos = [await engine.get(run_id).info(tx=tx) for run_id in ("one", "four")]
    assert [(info.rev, info.status) for info in infos] == [(0, "queued"), (0, "cancelled")]
    made = await engine.schedule("made", FLOW, {}, every=timedelta(hours=1), tx=tx)
    await made.pause(tx=tx)
    await made.trigger(tx=tx)
    for verb in (engine.get_schedule("there").resume, engine.get_schedule("gone").delete):
        await verb(tx=tx)


def test_a_commit_brings_all_and_a_rollback_nothing(driver: PostgresDriver, server: Server, opened: Open) -> None:
    async def go() -> None:
        async with AsyncEngine(driver) as engine:
            engine.register(FLOW)
            for name in ("there", "gone"):
                await (await engine.schedule(name, FLOW, {}, every=timedelta(hours=1))).pause()
            for end, found in (("rollback", []), ("commit", ["four", "made@tri", "one", "three", "two"])):
                async with opened(server) as (tx, commit, rollback):
                    await _all_verbs(engine, tx)
                    assert await engine.runs() == []
                    await {"commit": commit, "rollback": rollback}[end]()
                assert sorted(run.id[:8] for run in await engine.runs()) == found
                there = {"gone": True, "there": True} if end == "rollback" else {"made": True, "there": False}
                assert {one.id: one.paused for one in await engine.schedules()} == there
            assert (await engine.run_until_idle()).completed == 4

    asyncio.run(go())


def test_an_id_of_another_input_is_refused(driver: PostgresDriver, server: Server, opened: Open) -> None:
    async def go() -> None:
        async with AsyncEngine(driver) as engine:
            await engine.start(FLOW, {"n": 1}, id="one")
            async with opened(server) as (tx, commit, _rollback):
                assert (await engine.start(FLOW, {"n": 1}, id="one", tx=tx)).id == "one"
                with pytest.raises(RunExists, match="another input"):
                    await engine.start(FLOW, {"n": 2}, id="one", tx=tx)
                await engine.start(FLOW, {"n": 3}, id="two", tx=tx)
                with pytest.raises(RunExists, match="another input"):
                    await engine.start(FLOW, {"n": 4}, id="two", tx=tx)
                with pytest.raises(RunExists, match="another input"):
                    await engine.start_many(FLOW, [("three", {"n": 1}), ("two", {"n": 4})], tx=tx)
                await engine.start_many(FLOW, [("four", {"n": 1}), ("two", {"n": 3})], tx=tx)
                await commit()
            assert sorted(one.id for one in await engine.runs()) == ["four", "one", "three", "two"]

    asyncio.run(go())


def test_a_blocking_engine_refuses_them_before_any_statement(
    driver: PostgresDriver, server: Server, opened: Open
) -> None:
    async def go() -> None:
        async with opened(server) as (tx, _commit, _rollback):
            with Engine(driver) as engine, pytest.raises(TypeError, match="is asynchronous"):
                engine.start(FLOW, {}, tx=tx)

    asyncio.run(go())


def _refused(driver: PostgresDriver, work: Callable[[AsyncEngine], Awaitable[None]]) -> None:
    async def go() -> None:
        async with AsyncEngine(driver) as engine:
            with pytest.raises(StoreError, match=r"no open transaction|autocommit"):
                await work(engine)
            assert await engine.runs() == []

    asyncio.run(go())


def test_without_an_open_transaction_they_are_refused(driver: PostgresDriver, server: Server) -> None:
    async def with_psycopg(engine: AsyncEngine) -> None:
        async with await psycopg.AsyncConnection.connect(server.uri, autocommit=True) as tx:
            await engine.start(FLOW, {}, tx=tx)

    async def with_asyncpg(engine: AsyncEngine) -> None:
        tx = await asyncpg.connect(server.uri)
        try:
            await engine.start(FLOW, {}, tx=tx)
        finally:
            await tx.close()

    _refused(driver, with_psycopg)
    _refused(driver, with_asyncpg)


@pytest.mark.parametrize("name", ["psycopg", "asyncpg"])
def test_sqlalchemy_in_autocommit_mode_is_refused(driver: PostgresDriver, server: Server, name: str) -> None:
    url = server.uri.replace("postgresql:", f"postgresql+{name}:")

    async def work(engine: AsyncEngine) -> None:
        database = create_async_engine(url, isolation_level="AUTOCOMMIT")
        try:
            async with database.connect() as tx:
                await engine.start(FLOW, {}, tx=tx)
        finally:
            await database.dispose()

    _refused(driver, work)
    if name == "psycopg":
        database = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
        with Engine(driver) as engine, database.connect() as tx, pytest.raises(StoreError, match="autocommit"):
            engine.start(FLOW, {}, tx=tx)
        database.dispose()


@pytest.mark.parametrize("rows", [dict_row, scalar_row, namedtuple_row, kwargs_row(dict), args_row(set)])
def test_the_caller_s_connection_may_make_rows_in_its_own_way(
    driver: PostgresDriver, server: Server, rows: Any
) -> None:
    with Engine(driver) as engine, psycopg.connect(server.uri, row_factory=rows) as tx:
        engine.register(FLOW)
        run = engine.start(FLOW, {"n": 1}, id="one", tx=tx)
        assert run.info(tx=tx).status == "queued"
        tx.commit()
        assert engine.run_until_idle().completed == 1
        assert engine.start(FLOW, {"n": 1}, id="one", tx=tx).id == "one"
        with pytest.raises(RunExists, match="another input"):
            engine.start(FLOW, {"n": 2}, id="one", tx=tx)
        elsewhere = server.uri.replace("/postgres?", "/template1?")
        with psycopg.connect(elsewhere, row_factory=rows) as other, pytest.raises(StoreError, match="another database"):
            engine.start(FLOW, {}, tx=other)

    async def go() -> None:
        opened = psycopg.AsyncConnection.connect(server.uri, row_factory=rows)
        async with AsyncEngine(driver) as engine, await opened as tx:
            await engine.start(FLOW, {"n": 1}, id="two", tx=tx)
            assert (await engine.get("two").info(tx=tx)).status == "queued"

    asyncio.run(go())


DJANGO = """
import sys
from datetime import timedelta
import django
from django.conf import settings
url, engine_name, options = sys.argv[1], sys.argv[2], eval(sys.argv[3])
settings.configure(DATABASES={"default": {"ENGINE": engine_name, **options}})
django.setup()
from django.db import connection, transaction
from stepflow import Engine, StoreError, named

flow = named("x", dict).do("a", lambda d: None).compile()
with Engine(url) as engine:
    engine.register(flow)
    try:
        engine.start(flow, {}, id="outside", tx=connection)
    except StoreError as error:
        print("transaction.atomic()" in str(error))
    with transaction.atomic():
        engine.start(flow, {}, id="one", tx=connection)
        engine.start_many(flow, [("two", {})], tx=connection)
        engine.get("one").publish("e", 1, tx=connection)
        engine.start(flow, {}, id="three", tx=connection)
        engine.get("three").cancel(tx=connection)
        print(engine.get("three").info(tx=connection).status)
        hourly = engine.schedule("hourly", flow, {}, every=timedelta(hours=1), tx=connection)
        hourly.pause(tx=connection)
        engine.schedule("gone", flow, {}, every=timedelta(hours=1), tx=connection).delete(tx=connection)
    try:
        with transaction.atomic():
            engine.start(flow, {}, id="rolled back", tx=connection)
            hourly.resume(tx=connection)
            raise KeyError
    except KeyError:
        pass
    print(sorted(run.id for run in engine.runs()), engine.run_until_idle().completed)
    print([(one.id, one.paused) for one in engine.schedules()])
"""


def _django(*args: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", DJANGO, *args], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_djangos_connection_on_postgresql(server: Server) -> None:
    with psycopg.connect(server.uri) as here:
        info = here.info
        options = {"NAME": info.dbname, "USER": info.user, "HOST": info.host}
    assert (
        _django(server.url(), "django.db.backends.postgresql", repr(options))
        == "True\ncancelled\n['one', 'three', 'two'] 2\n[('hourly', True)]\n"
    )


def test_djangos_connection_on_sqlite(tmp_path: Any) -> None:
    path = tmp_path / "shop.db"
    options = repr({"NAME": str(path)})
    assert (
        _django(f"sqlite:///{path}", "django.db.backends.sqlite3", options)
        == "True\ncancelled\n['one', 'three', 'two'] 2\n[('hourly', True)]\n"
    )
