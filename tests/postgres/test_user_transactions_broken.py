"""Transactions of functions on PostgreSQL that meet each other, or whose connection breaks: nothing is lost, nothing is done twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stepflow import AsyncContext, Context, Engine, workflow
from tests.postgres.banks import ainsert, insert, postgres_bank
from tests.postgres.proxy import Proxy
from tests.postgres.server import Server


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(Path(server.uri.partition("host=")[2]))
    yield proxy
    proxy.close()


def test_two_transfers_that_meet_in_a_deadlock_both_take_place(server: Server) -> None:
    bank = postgres_bank(server)
    with closing(bank.connect()) as connection:
        connection.execute("insert into bank values ('a'), ('b')")
        connection.commit()
    meet, calls = threading.Barrier(2), list[str]()

    def lock_both(connection: Any, first: str, second: str) -> str:
        calls.append(first)
        connection.execute("set local deadlock_timeout = '10ms'")
        connection.execute("select 1 from bank where name = %s for update", (first,))
        if len(calls) <= 2:
            meet.wait()
        connection.execute("select 1 from bank where name = %s for update", (second,))
        return insert(connection, f"{first} to {second}")

    @workflow("w")
    def flow(wf: Context, pair: list[str]) -> str:
        return wf.transaction("lock", lock_both, *pair)

    with Engine(bank.driver) as engine:
        engine.register(flow)
        runs = [engine.start(flow, pair) for pair in (["a", "b"], ["b", "a"])]
        engine.run_until_idle()
        assert [run.result() for run in runs] == ["a to b", "b to a"]
    assert bank.names() == ["a", "a to b", "b", "b to a"]
    assert len(calls) == 3


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_connection_that_breaks_in_the_commit_is_asked_about_and_nothing_is_done_twice(
    server: Server, proxy: Proxy, is_async: bool
) -> None:
    bank = postgres_bank(server)
    calls: list[str] = []

    def pay(connection: Any, name: str) -> str:
        calls.append(name)
        insert(connection, name)
        proxy.cut(b"commit")
        return name

    async def apay(connection: Any, name: str) -> str:
        calls.append(name)
        await ainsert(connection, name)
        proxy.cut(b"commit")
        return name

    @workflow("w")
    def flow(wf: Context) -> str:
        return wf.transaction("pay", pay, "x")

    @workflow("w")
    async def aflow(wf: AsyncContext) -> str:
        return await wf.transaction("pay", apay, "x")

    both: Any = aflow if is_async else flow
    url = server.empty().replace(server.uri.partition("host=")[2], str(proxy.folder), 1)
    with Engine(url) as engine:
        engine.register(both)
        run = engine.start(both, id="r")
        with engine.worker():
            assert run.result(60) == "x"
    assert proxy.cuts == 1
    assert (bank.names(), calls) == (["x"], ["x"])


def test_a_connection_that_breaks_in_the_function_is_no_failure_of_it(server: Server) -> None:
    bank = postgres_bank(server)
    calls: list[int] = []

    def pay(connection: Any) -> str:
        calls.append(connection.info.backend_pid)
        insert(connection, "x")
        if len(calls) == 1:
            server.execute(f"select pg_terminate_backend({calls[0]})")
        return insert(connection, "y")

    @workflow("w")
    def flow(wf: Context) -> str:
        return wf.transaction("pay", pay)

    with Engine(bank.driver) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        assert run.result() == "y"
    assert bank.names() == ["x", "y"]
    assert len(calls) == 2
