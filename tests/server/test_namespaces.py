"""How many namespaces a server keeps open, and how it closes them."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from stepflow.drivers.port.notes import AUDIT
from stepflow.drivers.registry import driver_for
from stepflow.engine.clock import SystemClock
from stepflow.server.errors import Refusal
from stepflow.server.namespaces import Namespaces
from tests.postgres.server import Server

pytestmark = pytest.mark.anyio

CREATE = {
    "stateCtxs": [{"current": {"id": "order-1"}}],
    "commit": {"commands": [{"transit": {"stateRef": {"idx": "0"}, "flowId": "charge"}}]},
}
BY_ID = {"stateCtxs": [{}], "getStateByID": {"id": "order-1", "stateRef": {"idx": "0"}}}


async def test_more_namespaces_than_are_kept_open(server, store, monkeypatch):
    monkeypatch.setattr("stepflow.server.namespaces.MAX_OPEN", 2)
    async with server(store) as caller:
        await asyncio.gather(*(caller.post("Driver/Commit", CREATE, namespace=f"n{n}") for n in range(5)))
        for n in range(5):
            await caller.post("Driver/GetStateByID", BY_ID, namespace=f"n{n}")


async def test_many_namespaces_leave_connections_of_postgresql_to_others(server):
    postgres = Server(18)
    try:
        async with server(postgres.url()) as caller:
            for n in range(24):
                await caller.post("Driver/Commit", CREATE, namespace=f"n{n}")
            with psycopg.connect(postgres.uri) as connection:
                query = "select count(*) from pg_stat_activity where backend_type = 'client backend'"
                assert connection.execute(query).fetchone()[0] < 40  # each namespace needs two
            await caller.post("Driver/GetStateByID", BY_ID, namespace="n0")
    finally:
        postgres.close()


async def test_the_end_waits_for_the_audit_of_an_interrupted_request_and_takes_no_other_one(store):
    namespaces = Namespaces(driver_for(store), SystemClock())
    begun = asyncio.Event()

    async def request():
        try:
            async with namespaces.engine("a"):
                begun.set()
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            with pytest.raises(Refusal, match="shutting down"):
                async with namespaces.engine("a"):
                    pass
            async with namespaces.engine(AUDIT) as engine:
                return await engine.runs()

    task = asyncio.create_task(request())
    await begun.wait()
    closing = asyncio.create_task(namespaces.close())
    task.cancel()
    assert await task == []
    await closing
    with pytest.raises(Refusal, match="shutting down"):
        async with namespaces.engine(AUDIT):
            pass
