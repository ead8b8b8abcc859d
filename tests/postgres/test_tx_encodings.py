"""tx= on PostgreSQL, of connections whose client encoding lacks characters: what cannot pass is refused, and nothing of it is written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy

from stepflow import AsyncEngine, Engine, StoreError, named
from stepflow.drivers.postgres.callers_connection import UNREADABLE, drive
from tests.postgres.server import Server

FLOW = named("x", dict[str, str]).do("a", lambda d: None).compile()
WORD, PASSES = "Zażółć", "é"
REFUSED = "latin-1, which lacks 'ż' .*client_encoding=utf8"
Verb = Callable[[Any, Any], Any]
WRITES: dict[str, Verb] = {
    "id": lambda engine, tx: engine.start(FLOW, {}, id=WORD, tx=tx),
    "label": lambda engine, tx: engine.start(FLOW, {}, id="new", labels={"name": WORD}, tx=tx),
    "input": lambda engine, tx: engine.start(FLOW, {"name": WORD}, id="new", tx=tx),
    "many": lambda engine, tx: engine.start_many(FLOW, [("first", {}), (PASSES, {}), (WORD, {})], tx=tx),
    "input of many": lambda engine, tx: engine.start_many(FLOW, [("first", {}), ("last", {"name": WORD})], tx=tx),
    "payload": lambda engine, tx: engine.get("old").publish("news", WORD, tx=tx),
    "message id": lambda engine, tx: engine.get("old").publish("news", 1, id=WORD, tx=tx),
    "schedule": lambda engine, tx: engine.schedule(WORD, FLOW, {}, cron="0 0 * * *", tx=tx),
}
READS: dict[str, Verb] = {
    "info": lambda engine, tx: engine.get(WORD).info(tx=tx),
    "cancel": lambda engine, tx: engine.get(WORD).cancel(tx=tx),
}


@pytest.fixture
def url(server: Server) -> str:
    return server.empty()


@pytest.fixture(params=["psycopg", "sqlalchemy"])
def tx(request: pytest.FixtureRequest, server: Server) -> Any:
    """An open transaction; `closing` commits it."""
    connection = psycopg.connect(server.uri, client_encoding="latin1")
    if request.param == "psycopg":
        yield connection
    else:
        database = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: connection)
        with database.connect() as opened:
            yield opened
    connection.close()


@pytest.mark.parametrize("verb", [*WRITES.values(), *READS.values()], ids=[*WRITES, *READS])
def test_what_cannot_pass_is_refused_and_the_transaction_goes_on(url, tx, verb):
    with Engine(url) as engine:
        engine.start(FLOW, {}, id="old")
        with pytest.raises(StoreError, match=REFUSED):
            verb(engine, tx)
        engine.start(FLOW, {"name": PASSES}, id=PASSES, tx=tx)
        tx.commit()
        assert sorted(run.id for run in engine.runs()) == ["old", PASSES]
        assert engine.get(FLOW, PASSES).exchange() == {"name": PASSES}
        assert engine.schedules() == []


@pytest.mark.parametrize("kind", ["psycopg", "asyncpg"])
@pytest.mark.parametrize("verb", WRITES.values(), ids=WRITES)
def test_asynchronous_connections(url, server, kind, verb):
    async def test() -> None:
        async with AsyncEngine(url) as engine:
            await engine.start(FLOW, {}, id="old")
            if kind == "psycopg":
                tx: Any = await psycopg.AsyncConnection.connect(server.uri, client_encoding="latin1")
            else:
                tx = await asyncpg.connect(server.uri, server_settings={"client_encoding": "latin1"})
                await tx.execute("begin")
            with pytest.raises(StoreError, match=REFUSED):
                await verb(engine, tx)
            await tx.close()
            assert [run.id for run in await engine.runs()] == ["old"]

    asyncio.run(test())


def test_what_is_stored_and_cannot_be_read_says_so(url, tx):
    """PostgreSQL fails such a statement, and with it the transaction."""
    with Engine(url) as engine:
        engine.start(FLOW, {}, id="old", labels={"name": WORD})
        engine.run_until_idle()
        with pytest.raises(StoreError, match=UNREADABLE[:60]):
            engine.get("old").info(tx=tx)


def test_a_surrogate_is_no_matter_of_the_client_encoding(server):
    """No encoding has those: they are refused where ids and values are checked."""

    def ask() -> Any:
        yield "select :word", {"word": "\udc80"}

    with psycopg.connect(server.uri) as connection, pytest.raises(UnicodeEncodeError):
        drive(ask(), connection)
