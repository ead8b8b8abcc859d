"""Functions that write in the transaction of a run, on both stores that have transactions: both or neither, whatever goes wrong."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stepflow import (
    AsyncContext,
    AsyncEngine,
    Context,
    Engine,
    MemoryDriver,
    RetryPolicy,
    RunFailed,
    StepflowError,
    TimedOut,
    workflow,
)
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.testing import VirtualClock
from tests.postgres.banks import Bank, ainsert, insert, postgres_bank
from tests.postgres.server import Server


def fail(connection: Any, name: str) -> str:
    insert(connection, name)
    raise ValueError(name)


async def afail(connection: psycopg.AsyncConnection[Any], name: str) -> str:
    await ainsert(connection, name)
    raise ValueError(name)


def lazy(connection: Any, name: str) -> int:
    """Returns what its annotation does not allow."""
    insert(connection, name)
    return name  # type: ignore[return-value]


def test_what_a_function_wrote_is_there_with_its_record_and_is_written_once(bank: Bank) -> None:
    @workflow("w")
    def flow(wf: Context, name: str) -> list[str]:
        first = wf.transaction("first", insert, f"{name}-1")
        wf.sleep("nap", 5)
        return [first, wf.transaction("second", insert, f"{name}-2")]

    clock = VirtualClock()
    for _ in range(2):
        with Engine(bank.driver, clock=clock) as engine:
            engine.register(flow)
            run = engine.start(flow, "a", id="r")
            engine.run_until_idle()
        clock.advance(5)
    with Engine(bank.driver, clock=clock) as engine:
        assert run.id == "r"
        assert engine.get(flow, "r").result(60) == ["a-1", "a-2"]
    assert bank.names() == ["a-1", "a-2"]


@pytest.mark.parametrize("function", [fail, lazy])
def test_a_failure_takes_the_writes_back_and_is_recorded(bank: Bank, function: Any) -> None:
    seen: list[str] = []

    @workflow("w")
    def flow(wf: Context) -> str:
        try:
            wf.transaction("bad", function, "x")
        except Exception as error:
            seen.append(type(error).__name__)
        return wf.transaction("good", insert, "y")

    with Engine(bank.driver) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        assert run.result() == "y"
    assert (bank.names(), seen) == (["y"], ["ValueError" if function is fail else "CodecError"])


def test_an_attempt_that_failed_is_made_again_in_a_transaction_of_its_own(bank: Bank) -> None:
    tries: list[int] = []

    def third(connection: Any, name: str) -> str:
        tries.append(len(tries))
        insert(connection, f"{name}{len(tries)}")
        if len(tries) < 3:
            connection.execute("insert into nowhere values (1)")
        return name

    @workflow("w")
    def flow(wf: Context) -> str:
        return wf.transaction("pay", third, "x", retry=RetryPolicy(max_attempts=3, delay=1))

    clock = VirtualClock()
    with Engine(bank.driver, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle(advance=True)
        assert run.result() == "x"
    assert (bank.names(), len(tries)) == (["x3"], 3)


def test_a_failed_statement_that_the_function_swallows_commits_nothing_that_depends_on_it(bank: Bank) -> None:
    def careless(connection: Any) -> int:
        insert(connection, "before")
        try:
            connection.execute("insert into nowhere values (1)")
        except Exception:
            return 1
        return 0

    @workflow("w")
    def flow(wf: Context) -> int:
        return wf.transaction("pay", careless)

    with Engine(bank.driver) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        if isinstance(bank.driver, SqliteDriver):  # a failed statement undoes itself alone
            assert (run.result(), bank.names()) == (1, ["before"])
            return
        with pytest.raises(RunFailed, match="a statement of the function failed, so nothing can be committed"):
            run.result()
    assert bank.names() == []


def test_an_engine_write_inside_is_refused_unless_it_gets_the_connection(bank: Bank) -> None:
    refused: list[str] = []

    @workflow("child")
    def child(wf: Context, n: int) -> int:
        return n

    with Engine(bank.driver) as engine:

        def spawn(connection: Any, n: int) -> int:
            for write in (
                lambda: engine.start(child, n, id="other"),
                lambda: engine.start_many(child, [("other", n)]),
                lambda: engine.get("r").publish("e", 1, id="1"),
                lambda: engine.get("rs"[n - 1]).cancel(),
            ):
                with pytest.raises(StepflowError, match="give the call the connection as tx=") as found:
                    write()
                refused.append(str(found.value))
            insert(connection, "x")
            engine.start(child, n, id=f"child-{n}", tx=connection)
            if n == 1:
                raise ValueError
            return n

        @workflow("w")
        def flow(wf: Context, n: int) -> int:
            try:
                return wf.transaction("spawn", spawn, n)
            except ValueError:
                return 0

        engine.register(flow, child)
        for n in (1, 2):
            engine.start(flow, n, id=("r" if n == 1 else "s"))
            engine.run_until_idle()
        assert [engine.get(flow, one).result() for one in ("r", "s")] == [0, 2]
        assert engine.get(child, "child-2").result() == 2
        assert len(engine.runs()) == 3
    assert len(refused) == 8
    assert bank.names() == ["x"]


def test_a_function_that_takes_too_long_writes_nothing_and_keeps_no_one_waiting(bank: Bank) -> None:
    go_on, ended = threading.Event(), threading.Event()

    def slow(connection: Any) -> int:
        try:
            insert(connection, "early")  # refused if the time was over before the function began
            go_on.wait()
            insert(connection, "late")
        finally:
            ended.set()
        return 1

    @workflow("w")
    def flow(wf: Context) -> str:
        try:
            wf.transaction("slow", slow, timeout=0.05)
        except TimedOut:
            return wf.transaction("next", insert, "next")
        return ""

    with Engine(bank.driver) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        assert run.result() == "next"
        go_on.set()
        ended.wait()
    assert bank.names() == ["next"]


def test_async_workflows_call_async_functions_with_an_async_connection_and_sync_ones_in_threads(bank: Bank) -> None:
    is_async = bank.driver.transactions == "async"

    @workflow("w")
    async def flow(wf: AsyncContext) -> list[str]:
        names = [await wf.transaction("sync", insert, "a")]
        for function in (fail, afail) if is_async else (fail,):
            with pytest.raises(ValueError, match="gone"):
                await wf.transaction(function.__name__, function, "gone")
        if is_async:
            names.append(await wf.transaction("async", ainsert, "b", timeout=10))
            names.append(await wf.transaction("without limit", ainsert, "c"))
        return names

    async def main() -> None:
        async with AsyncEngine(bank.driver) as engine:
            engine.register(flow)
            run = await engine.start(flow)
            await engine.run_until_idle()
            assert await run.result() == (["a", "b", "c"] if is_async else ["a"])

    asyncio.run(main())
    assert bank.names() == (["a", "b", "c"] if is_async else ["a"])


def test_a_cancel_ends_an_async_function_and_takes_its_writes_back(server: Server) -> None:
    bank = postgres_bank(server)
    inside = asyncio.Event()

    async def stuck(connection: psycopg.AsyncConnection[Any]) -> str:
        await ainsert(connection, "lost")
        inside.set()
        await connection.execute("select pg_sleep(3600)")
        return ""

    @workflow("w")
    async def flow(wf: AsyncContext) -> str:
        try:
            return await wf.transaction("stuck", stuck)
        finally:
            await wf.transaction("undo", ainsert, "undone")

    async def main() -> None:
        async with AsyncEngine(bank.driver) as engine:
            engine.register(flow)
            run = await engine.start(flow)
            async with engine.worker():
                await inside.wait()
                await run.cancel()
                with pytest.raises(StepflowError, match="cancelled"):
                    await run.result(60)

    asyncio.run(main())
    assert bank.names() == ["undone"]


@pytest.mark.parametrize("function", [insert, ainsert])
def test_a_store_without_such_transactions_blocks_the_run(tmp_path: Path, function: Any) -> None:
    @workflow("w")
    async def flow(wf: AsyncContext) -> str:
        return await wf.transaction("t", function, "x")  # type: ignore[no-any-return]

    for driver in (MemoryDriver(), SqliteDriver(tmp_path / "runs.db")):
        if driver.transactions == "sync" and function is insert:
            continue
        with Engine(driver, clock=VirtualClock()) as engine:
            engine.register(flow)
            run = engine.start(flow)
            engine.run_until_idle()
            assert "has no transactions for functions" in str(run.info().blocked) or "make this one sync" in str(
                run.info().blocked
            )
