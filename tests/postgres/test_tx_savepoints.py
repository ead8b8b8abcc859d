"""A statement that fails in the caller's transaction spoils nothing that is posted after it, and no refusal of ours spoils the transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy
from sqlalchemy.orm import Session

from stepflow import AsyncEngine, Engine, NotFound, RunEnded, RunExists, StepflowError, StoreError
from stepflow.drivers.postgres import PostgresDriver
from tests.postgres.server import Server
from tests.postgres.test_tx_connections import FLOW, OPEN, Open

HOUR = timedelta(hours=1)


@pytest.fixture(params=OPEN)
def opened(request: pytest.FixtureRequest) -> Open:
    return OPEN[request.param]


def executing(tx: Any) -> Callable[[str], Awaitable[Any]]:
    """Sends a statement through any of the connections."""
    if hasattr(tx, "run_sync"):
        return lambda text: tx.execute(sqlalchemy.text(text))
    return tx.execute  # type: ignore[no-any-return]


async def failing(tx: Any) -> None:
    """A statement of the caller's that fails, in a savepoint."""
    execute = executing(tx)
    await execute("savepoint mine")
    with suppress(Exception):
        await execute("insert into nowhere values (1)")
        raise AssertionError("there is such a table")
    await execute("rollback to savepoint mine")


async def refusals(engine: AsyncEngine, tx: Any) -> None:
    """Every refusal that a call with tx= has for what is given."""
    with pytest.raises(RunExists):
        await engine.start(FLOW, {"n": 2}, id="known", tx=tx)
    with pytest.raises(NotFound):
        await engine.get("nobody").info(tx=tx)
    with pytest.raises(NotFound):
        await engine.get("nobody").cancel(tx=tx)
    with pytest.raises(RunEnded):
        await engine.get("known").cancel(tx=tx)
    with pytest.raises(NotFound):
        await engine.get_schedule("nobody").pause(tx=tx)
    with pytest.raises(StepflowError):
        await engine.start(FLOW, {"n": "\ud800"}, id="half", tx=tx)  # type: ignore[dict-item]
    with pytest.raises(StepflowError):
        await engine.schedule("half", FLOW, {"n": "\ud800"}, every=HOUR, tx=tx)  # type: ignore[dict-item]
    with pytest.raises(StoreError):
        await engine.start(FLOW, {}, dedup_key="k", tx=tx)


def test_what_comes_after_a_failed_statement_takes_place(driver: PostgresDriver, server: Server, opened: Open) -> None:
    async def go() -> None:
        async with AsyncEngine(driver) as engine:
            engine.register(FLOW)
            await engine.start(FLOW, {"n": 1}, id="known")
            await engine.run_until_idle()
            async with opened(server) as (tx, commit, _rollback):
                execute = executing(tx)
                await execute("create table if not exists rows_of_mine (name text)")
                await failing(tx)
                await refusals(engine, tx)
                await execute("insert into rows_of_mine values ('before')")
                await engine.start(FLOW, {}, id="one", tx=tx)
                await failing(tx)
                await engine.get("one").publish("e", 1, tx=tx)
                await engine.schedule("s", FLOW, {}, every=HOUR, tx=tx)
                await execute("savepoint mine")
                await engine.start(FLOW, {}, id="taken back", tx=tx)
                await engine.get_schedule("s").delete(tx=tx)
                await execute("rollback to savepoint mine")
                await engine.get_schedule("s").pause(tx=tx)
                await execute("insert into rows_of_mine values ('after')")
                await commit()
            assert sorted(run.id for run in await engine.runs()) == ["known", "one"]
            assert [(one.id, one.paused) for one in await engine.schedules()] == [("s", True)]
            assert (await engine.run_until_idle()).completed == 1
        with psycopg.connect(server.uri) as here:
            assert here.execute("select name from rows_of_mine").fetchall() == [("before",), ("after",)]
            here.execute("drop table rows_of_mine")

    asyncio.run(go())


def test_a_transaction_that_a_statement_has_spoiled_is_refused(
    driver: PostgresDriver, server: Server, opened: Open
) -> None:
    async def go() -> None:
        async with AsyncEngine(driver) as engine:
            async with opened(server) as (tx, _commit, rollback):
                with suppress(Exception):
                    await executing(tx)("insert into nowhere values (1)")
                with pytest.raises(StoreError, match="a statement has failed"):
                    await engine.start(FLOW, {}, id="one", tx=tx)
                with pytest.raises(StoreError, match="a statement has failed"):
                    await engine.get("one").info(tx=tx)
                await rollback()
            assert await engine.runs() == []

    asyncio.run(go())


@pytest.mark.parametrize("kind", ["connection", "session"])
def test_savepoints_of_sqlalchemy_take_back_what_was_posted_in_them(
    driver: PostgresDriver, server: Server, kind: str
) -> None:
    database = sqlalchemy.create_engine(server.uri.replace("postgresql:", "postgresql+psycopg:"))
    with Engine(driver) as engine:
        with Session(database) if kind == "session" else database.connect() as tx:
            engine.start(FLOW, {}, id="one", tx=tx)
            with suppress(sqlalchemy.exc.ProgrammingError), tx.begin_nested():
                engine.start(FLOW, {}, id="taken back", tx=tx)
                tx.execute(sqlalchemy.text("insert into nowhere values (1)"))
            engine.start(FLOW, {}, id="two", tx=tx)
            tx.commit()
        assert sorted(run.id for run in engine.runs()) == ["one", "two"]
    database.dispose()
