"""Functions that go on although their transaction has to end: their statements end with it, and the locks are free at once."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from stepflow import AsyncContext, Context, Engine, named, workflow
from stepflow.drivers.port.store import Store
from stepflow.engine.execution.user_transactions import end_of
from stepflow.testing.conformance.kit import Sessions
from tests.engine.clocks import ManualClock
from tests.postgres.banks import Bank, insert, postgres_bank
from tests.postgres.server import Server
from tests.processes.harness import eventually

Hang = Callable[[Any], None]
WAIT_S = 60


@pytest.fixture
def store(bank: Bank) -> Iterator[Store]:
    with closing(Sessions(bank.driver)) as sessions:
        yield sessions.session()


def endless(connection: Any, inside: threading.Event) -> None:
    """A statement that does not end; `inside` is set while it runs."""
    if isinstance(connection, sqlite3.Connection):
        connection.create_function("inside", 0, inside.set)
        connection.execute("with recursive n(i) as (select inside() union all select 1 from n) select sum(i) from n")
        return
    pid = connection.info.backend_pid
    threading.Thread(target=_look, args=(connection.info.dsn, pid, inside)).start()
    connection.execute("select pg_sleep(3600)")


def _look(dsn: str, pid: int, inside: threading.Event) -> None:
    ask = "select 1 from pg_stat_activity where pid = %s and state = 'active' and query like 'select pg_sleep%%'"
    with psycopg.connect(dsn, autocommit=True) as connection:
        while connection.execute(ask, (pid,)).fetchone() is None:
            continue
    inside.set()


def take_the_table(store: Store) -> None:
    """Change it in a transaction, which nobody else may have a lock for."""
    opened = store.begin()
    if not isinstance(opened.connection, sqlite3.Connection):
        opened.connection.execute("set local lock_timeout = '60s'")
    opened.connection.execute("alter table bank add column more text")
    opened.roll_back()


def test_a_statement_ends_with_the_transaction_that_is_abandoned(bank: Bank, store: Store) -> None:
    opened, inside, raised = store.begin(), threading.Event(), list[BaseException]()

    def function() -> None:
        insert(opened.connection, "lost")
        try:
            endless(opened.connection, inside)
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=function)
    thread.start()
    assert inside.wait(WAIT_S)
    opened.abandon()
    take_the_table(store)
    thread.join(WAIT_S)
    assert len(raised) == 1
    assert bank.names() == []


def test_a_coroutine_that_goes_on_after_its_cancel_keeps_no_locks(server: Server) -> None:
    bank = postgres_bank(server)

    async def main(store: Store) -> None:
        opened, inside = store.begin(awaited=True), threading.Event()
        connection = opened.connection
        await connection.execute("insert into bank values ('lost')")
        threading.Thread(target=_look, args=(connection.info.dsn, connection.info.backend_pid, inside)).start()
        work = asyncio.create_task(connection.execute("select pg_sleep(3600)"))
        await asyncio.to_thread(inside.wait, WAIT_S)
        await asyncio.to_thread(opened.roll_back)
        await asyncio.to_thread(take_the_table, store)
        with pytest.raises(psycopg.Error):
            await work

    with closing(Sessions(bank.driver)) as sessions:
        asyncio.run(main(sessions.session()))
    assert bank.names() == []


def test_the_server_ends_the_statement_of_a_process_that_died(server: Server) -> None:
    bank = postgres_bank(server)
    with closing(Sessions(bank.driver)) as sessions:
        opened = sessions.session().begin()
        row = opened.connection.execute("show client_connection_check_interval").fetchone()
        assert row == ("1s",)
        opened.roll_back()


@pytest.mark.parametrize("met", ["cancel", "end"])  # what the function that was given up hears of first
@pytest.mark.parametrize("style", ["sync", "async", "chain"])
def test_a_function_that_hangs_is_made_again_and_does_not_wait_for_itself(
    bank: Bank, style: str, met: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if met == "end":  # of its connection
        monkeypatch.setattr(psycopg.Connection, "cancel_safe", lambda _self, **_options: None)
    monkeypatch.setattr("stepflow.engine.worker.worker.MAX_SLEEP_S", 0.05)  # it looks at the clock soon after the leap
    clock, inside, calls = ManualClock(), threading.Event(), list[int]()

    def pay(connection: Any, name: str) -> str:
        calls.append(len(calls))
        connection.execute("update bank set name = name")
        insert(connection, f"{name}{len(calls)}")
        if len(calls) == 1:
            endless(connection, inside)
        return name

    @workflow("w", hung_after=60)
    def sync_flow(wf: Context, name: str) -> str:
        return wf.transaction("pay", pay, name, timeout=3600)

    @workflow("w", hung_after=60)
    async def async_flow(wf: AsyncContext, name: str) -> str:
        return await wf.transaction("pay", pay, name, timeout=3600)

    def step(_name: str, connection: Any) -> None:
        pay(connection, "x")

    chain = named("w", str).do("pay", step, transaction=True, timeout=3600).compile(hung_after=60)
    flow: Any = {"sync": sync_flow, "async": async_flow, "chain": chain}[style]
    insert_now(bank, "row")
    caplog.set_level("INFO", "stepflow")
    with Engine(bank.driver, clock=clock) as engine:
        engine.register(flow)
        with engine.worker():
            run = engine.start(flow, "x")
            assert inside.wait(WAIT_S)
            clock.leap(61)
            run.result(WAIT_S)
    assert bank.names() == ["row", "x2"]
    gc.collect()
    assert [
        record.name for record in caplog.records if record.name == "asyncio"
    ] == []  # a failure that nobody looked at

    def late() -> list[str]:
        return [record.name for record in caplog.records if getattr(record, "event", "") == "late"]

    eventually(lambda: late() != [])  # of a sync workflow its own thread, which ends by itself, tells
    assert late() == ["stepflow"]
    assert "Refused" not in caplog.text  # it tells what the function raised


def insert_now(bank: Bank, name: str) -> None:
    with closing(bank.connect()) as connection:
        insert(connection, name)
        connection.commit()


def test_the_end_of_work_is_not_lost_to_a_cancel_that_comes_with_it() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for first in ("end", "cancel"):
            future: asyncio.Future[int] = loop.create_future()
            task = loop.create_task(end_of(future))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if first == "cancel":
                task.cancel()
            future.set_result(1)
            if first == "end":
                task.cancel()
            assert await task is True
            assert future.result() == 1

    asyncio.run(main())
