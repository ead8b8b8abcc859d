"""A cancel that comes during the last transaction of a workflow: what is committed is undone by the function, the rest is rolled back."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from stepflow import AsyncContext, Cancelled, Context, Engine, RunCancelled, Workflow, workflow
from tests.postgres.banks import Bank, ainsert, insert, postgres_bank
from tests.postgres.server import Server


@pytest.fixture
def bank(server: Server) -> Bank:
    return postgres_bank(server)


def cancel_from_outside(bank: Bank) -> None:
    """Another process cancels the run meanwhile."""

    def cancel() -> None:
        with Engine(bank.driver) as other:
            other.get("r").cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    thread.join(60)


def last(connection: Any, bank: Bank) -> str:
    cancel_from_outside(bank)
    return insert(connection, "last")


async def alast(connection: Any, bank: Bank) -> str:
    cancel_from_outside(bank)
    return await ainsert(connection, "last")


def give_back(connection: Any, name: str) -> None:
    connection.execute("delete from bank where name = %s", (name,))


def run_to_its_cancel(bank: Bank, flow: Workflow[None, None]) -> None:
    with Engine(bank.driver) as engine:
        engine.register(flow)
        run = engine.start(flow, id="r")
        with engine.worker(), pytest.raises(RunCancelled):
            run.result(timeout=60)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_transaction_is_undone_by_the_function(bank: Bank, is_async: bool) -> None:
    @workflow("w")
    def flow(wf: Context) -> None:
        try:
            wf.transaction("last", last, bank)
        except Cancelled:
            wf.transaction("give back", give_back, "last")
            raise

    @workflow("w")
    async def aflow(wf: AsyncContext) -> None:
        try:
            await wf.transaction("last", alast, bank)
        except Cancelled:
            await wf.transaction("undone", ainsert, "undone")
            raise

    run_to_its_cancel(bank, aflow if is_async else flow)
    assert bank.names() == (["last", "undone"] if is_async else [])


@pytest.mark.parametrize("slept", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
def test_an_atomic_attempt_is_rolled_back_and_the_function_undoes_an_earlier_one(
    bank: Bank, is_async: bool, slept: bool
) -> None:
    @workflow("w", atomic=True)
    def flow(wf: Context) -> None:
        try:
            if slept:
                wf.execute("first", insert, wf.tx, "first")
                wf.sleep("nap", 0.01)
            wf.execute("last", last, wf.tx, bank)
        except Cancelled:
            wf.execute("give back", give_back, wf.tx, "first")
            wf.execute("undone", insert, wf.tx, "undone")
            raise

    @workflow("w", atomic=True)
    async def aflow(wf: AsyncContext) -> None:
        try:
            if slept:
                await wf.execute("first", ainsert, wf.tx, "first")
                await wf.sleep("nap", 0.01)
            await wf.execute("last", alast, wf.tx, bank)
        except Cancelled:
            await wf.execute("undone", ainsert, wf.tx, "undone")
            raise

    run_to_its_cancel(bank, aflow if is_async else flow)
    assert bank.names() == ([] if not slept else ["first", "undone"] if is_async else ["undone"])


@pytest.mark.parametrize("slept", [False, True])
def test_an_atomic_function_undoes_an_earlier_attempt_in_a_finally(bank: Bank, slept: bool) -> None:
    @workflow("w", atomic=True)
    def flow(wf: Context) -> None:
        try:
            if slept:
                wf.execute("first", insert, wf.tx, "first")
                wf.sleep("nap", 0.01)
            wf.execute("last", last, wf.tx, bank)
        finally:
            wf.execute("undone", insert, wf.tx, "undone")

    run_to_its_cancel(bank, flow)
    assert bank.names() == (["first", "undone"] if slept else [])


def test_an_atomic_function_that_came_by_no_new_call_hears_of_it_in_its_last_one(bank: Bank) -> None:
    @workflow("w", atomic=True)
    def flow(wf: Context) -> None:
        try:
            wf.execute("first", insert, wf.tx, "first")
            wf.sleep("nap", 0.01)
            cancel_from_outside(bank)
        except Cancelled:
            wf.execute("undone", insert, wf.tx, "undone")
            raise

    run_to_its_cancel(bank, flow)
    assert bank.names() == ["first", "undone"]
