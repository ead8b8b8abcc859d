"""Workflows whose attempts are transactions: business rows and the record of the run are both there, or both absent."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stepflow import (
    AsyncContext,
    AsyncEngine,
    Context,
    DefinitionError,
    Engine,
    MemoryDriver,
    RetryPolicy,
    RunFailed,
    Terminal,
    workflow,
)
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.testing import VirtualClock
from tests.postgres.banks import Bank, ainsert, insert, postgres_bank
from tests.postgres.server import Server


def bad(connection: Any, name: str) -> str:
    insert(connection, name)
    connection.execute("insert into nowhere values (1)")
    return name


def test_an_attempt_is_committed_where_it_sleeps_and_where_it_ends(bank: Bank) -> None:
    seen: list[list[str]] = []

    def look() -> None:
        seen.append(bank.names())

    @workflow("w", atomic=True)
    def flow(wf: Context, name: str) -> str:
        wf.execute("one", insert, wf.tx, f"{name}1")
        wf.transaction("two", insert, f"{name}2")
        wf.execute("look", look)
        wf.sleep("nap", 5)
        wf.execute("three", insert, wf.tx, f"{name}3")
        wf.execute("look again", look)
        return wf.execute("four", insert, wf.tx, f"{name}4")

    with Engine(bank.driver, clock=VirtualClock()) as engine:
        engine.register(flow)
        run = engine.start(flow, "a")
        engine.run_until_idle()
        assert bank.names() == ["a1", "a2"]
        engine.run_until_idle(advance=True)
        assert run.result() == "a4"
    assert seen == [[], ["a1", "a2"]]
    assert bank.names() == ["a1", "a2", "a3", "a4"]


@pytest.mark.parametrize("kept", [False, True])
def test_a_failed_attempt_is_rolled_back_or_kept(bank: Bank, kept: bool) -> None:
    calls: list[str] = []

    def note(connection: Any, name: str) -> str:
        calls.append(name)
        return insert(connection, name)

    @workflow("w", atomic=True, on_failure="commit" if kept else "rollback", retry=RetryPolicy(max_attempts=2, delay=1))
    def flow(wf: Context) -> str:
        wf.execute("first", note, wf.tx, "first")
        wf.sleep("nap", 1)
        wf.execute("second", note, wf.tx, "second")
        raise ValueError("no")

    with Engine(bank.driver, clock=VirtualClock()) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle(advance=True)
        with pytest.raises(RunFailed, match="ValueError"):
            run.result()
    assert bank.names() == (["first", "second"] if kept else ["first"])
    assert calls == (["first", "second"] if kept else ["first", "second", "second"])


def test_a_statement_that_fails_spoils_neither_later_steps_nor_the_next_try(bank: Bank) -> None:
    tries: list[int] = []

    def at_second(connection: Any, name: str) -> str:
        tries.append(1)
        return bad(connection, name) if len(tries) == 1 else insert(connection, name)

    def careless(connection: Any) -> int:
        insert(connection, "careless")
        try:
            connection.execute("insert into nowhere values (1)")
        except Exception:
            return 1
        return 0

    @workflow("w", atomic=True)
    def flow(wf: Context) -> list[str]:
        done = [wf.execute("one", insert, wf.tx, "one")]
        for key, function in (("bad", bad), ("bad transaction", bad)):
            with pytest.raises((sqlite3.Error, psycopg.Error)):
                wf.execute(key, function, wf.tx, key) if key == "bad" else wf.transaction(key, function, key)
        done.append(wf.execute("again", at_second, wf.tx, "again", retry=RetryPolicy(max_attempts=2, delay=0)))
        try:
            wf.execute("careless", careless, wf.tx)
        except Exception as error:
            done.append(str(error)[:30])
        done.append(wf.transaction("last", insert, "last"))
        return done

    with Engine(bank.driver, clock=VirtualClock()) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle(advance=True)
        found = run.result()
    if isinstance(bank.driver, SqliteDriver):
        assert found == ["one", "again", "last"]
        assert bank.names() == ["again", "careless", "last", "one"]
    else:
        assert found == ["one", "again", "a statement of the step failed", "last"]
        assert bank.names() == ["again", "last", "one"]


def test_a_step_that_is_tried_again_later_keeps_what_the_steps_before_it_did(bank: Bank) -> None:
    tries: list[str] = []

    def flaky(connection: Any, name: str) -> str:
        tries.append(name)
        return bad(connection, name) if len(tries) == 1 else insert(connection, name)

    @workflow("w", atomic=True)
    def flow(wf: Context) -> str:
        wf.execute("one", insert, wf.tx, "one")
        return wf.execute("two", flaky, wf.tx, "two", retry=RetryPolicy(max_attempts=2, delay=3))

    with Engine(bank.driver, clock=VirtualClock()) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        assert bank.names() == ["one"]
        engine.run_until_idle(advance=True)
        assert run.result() == "two"
    assert bank.names() == ["one", "two"]


def test_events_labels_and_starts_are_part_of_the_attempt(bank: Bank) -> None:
    @workflow("other")
    def other(wf: Context, n: int) -> int:
        return n

    @workflow("w", atomic=True, retry=RetryPolicy(max_attempts=2, delay=1))
    def flow(wf: Context, fails: bool) -> int:
        got = wf.wait_for_event("wait", "E", int)
        wf.set_labels("label", {"got": str(got)})
        engine.start(other, got, id=f"other-{fails}", tx=wf.tx)
        insert(wf.tx, f"{fails}-{got}")
        if fails:
            raise Terminal("no")
        return got

    with Engine(bank.driver, clock=VirtualClock()) as engine:
        engine.register(flow, other)
        runs = [engine.start(flow, fails) for fails in (False, True)]
        engine.run_until_idle()
        for run in runs:
            run.publish("E", 7)
        engine.run_until_idle(advance=True)
        assert runs[0].result() == 7
        assert [run.info().labels.get("got") for run in runs] == ["7", None]
        assert [run.id for run in engine.runs(flow="other")] == ["other-False"]
    assert bank.names() == ["False-7"]


def test_an_async_workflow(server: Server) -> None:
    bank = postgres_bank(server)

    async def abad(connection: Any, name: str) -> str:
        await ainsert(connection, name)
        await connection.execute("insert into nowhere values (1)")
        return name

    @workflow("w", atomic=True)
    async def flow(wf: AsyncContext, fails: bool) -> str:
        await wf.execute("one", ainsert, wf.tx, f"one-{fails}")
        with pytest.raises(psycopg.Error):
            await wf.execute("bad", abad, wf.tx, "bad")
        await wf.sleep("nap", 1)
        await wf.transaction("two", ainsert, f"two-{fails}")
        if fails:
            raise ValueError("no")
        return "done"

    async def main() -> None:
        async with AsyncEngine(bank.driver, clock=VirtualClock()) as engine:
            engine.register(flow)
            runs = [await engine.start(flow, fails) for fails in (False, True)]
            await engine.run_until_idle(advance=True)
            assert await runs[0].result() == "done"
            with pytest.raises(RunFailed):
                await runs[1].result()

    asyncio.run(main())
    assert bank.names() == ["one-False", "one-True", "two-False"]


def test_a_deadlock_makes_the_whole_attempt_again(server: Server) -> None:
    bank, calls = postgres_bank(server), list[int]()

    def once_broken(connection: Any) -> int:
        calls.append(1)
        insert(connection, f"n{len(calls)}")
        if len(calls) == 1:
            connection.execute("do $$ begin raise exception 'x' using errcode = '40P01'; end $$")
        return len(calls)

    @workflow("w", atomic=True)
    def flow(wf: Context) -> int:
        wf.execute("one", insert, wf.tx, f"one{len(calls)}")
        return wf.execute("two", once_broken, wf.tx)

    with Engine(bank.driver, clock=VirtualClock()) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle(advance=True)
        assert run.result() == 2
    assert bank.names() == ["n2", "one1"]


def test_what_cannot_be_part_of_a_transaction_blocks_the_run(bank: Bank) -> None:
    @workflow("child")
    def child(wf: Context) -> None: ...

    @workflow("map", atomic=True)
    def mapped(wf: Context) -> None:
        wf.execute("one", insert, wf.tx, "one")
        wf.map("m", str, [1, 2])

    @workflow("child of atomic", atomic=True)
    def parent(wf: Context) -> None:
        wf.execute("one", insert, wf.tx, "two")
        wf.start_child("c", child)

    @workflow("once", atomic=True)
    def once(wf: Context) -> None:
        wf.execute("one", insert, wf.tx, "three")
        wf.execute("o", str, 1, at_most_once=True)

    @workflow("plain")
    def plain(wf: Context) -> None:
        wf.execute("one", insert, wf.tx, "four")

    flows = {mapped: "side by side", parent: "starts a child", once: "at_most_once", plain: "has no transaction"}
    with Engine(bank.driver, clock=VirtualClock()) as engine:
        engine.register(child, *flows)
        runs = {engine.start(flow): text for flow, text in flows.items()}
        engine.run_until_idle()
        for run, text in runs.items():
            assert text in run.explain()
    assert bank.names() == []


def test_a_store_without_such_transactions_refuses_the_workflow(tmp_path: Path) -> None:
    @workflow("w", atomic=True)
    def flow(wf: Context) -> None: ...

    @workflow("a", atomic=True)
    async def aflow(wf: AsyncContext) -> None: ...

    with Engine(MemoryDriver()) as engine, pytest.raises(DefinitionError, match="no transactions for functions"):
        engine.register(flow)
    with Engine(SqliteDriver(tmp_path / "x.db")) as engine, pytest.raises(DefinitionError, match="make this one sync"):
        engine.register(aflow)
    for options in ({"atomic": 1}, {"on_failure": "commit"}, {"atomic": True, "on_failure": "drop"}):
        with pytest.raises(DefinitionError):
            workflow("w", **options)


def test_a_cancel_keeps_what_undoes(bank: Bank) -> None:
    @workflow("w", atomic=True)
    def flow(wf: Context) -> None:
        wf.execute("one", insert, wf.tx, "one")
        try:
            wf.sleep("nap", 100)
        finally:
            wf.execute("undo", insert, wf.tx, "undone")

    with Engine(bank.driver, clock=VirtualClock()) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        run.cancel()
        engine.run_until_idle()
        assert run.info().status == "cancelled"
    assert bank.names() == ["one", "undone"]


@pytest.mark.parametrize("replayed", [False, True])
def test_a_deadlock_outside_of_the_steps_makes_the_whole_attempt_again(server: Server, replayed: bool) -> None:
    bank, calls = postgres_bank(server), list[int]()

    @workflow("w", atomic=True)
    def flow(wf: Context) -> int:
        wf.execute("one", insert, wf.tx, "one")
        if replayed:
            wf.sleep("nap", 1)
        calls.append(1)
        insert(wf.tx, f"n{len(calls)}")
        if len(calls) == 1:
            wf.tx.execute("do $$ begin raise exception 'x' using errcode = '40001'; end $$")
        return wf.execute("two", len, [1, 2])

    with Engine(bank.driver, clock=VirtualClock()) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle(advance=True)
        assert run.result() == 2
    assert bank.names() == ["n2", "one"]


def test_a_statement_that_fails_outside_of_the_steps_fails_the_run_with_its_own_error(bank: Bank) -> None:
    @workflow("w", atomic=True)
    def flow(wf: Context) -> None:
        wf.execute("one", insert, wf.tx, "one")
        bad(wf.tx, "two")

    @workflow("a", atomic=True)
    def swallowing(wf: Context) -> None:
        try:
            bad(wf.tx, "two")
        except (psycopg.Error, sqlite3.Error) as error:
            raise LookupError("no account") from error

    with Engine(bank.driver, clock=VirtualClock()) as engine:
        engine.register(flow, swallowing)
        runs = [engine.start(one) for one in (flow, swallowing)]
        engine.run_until_idle(advance=True)
        found = [run.info().error for run in runs]
    assert [one is not None and "nowhere" in one.message + one.traceback for one in found] == [True, True]
    assert found[1] is not None
    assert found[1].type == "LookupError"
    assert bank.names() == []
