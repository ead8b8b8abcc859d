"""Steps of chains that write in the transaction of their position, on both stores that have transactions."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stepflow import (
    DefinitionError,
    Engine,
    MemoryDriver,
    NeedsEngine,
    RetryPolicy,
    RunFailed,
    StepflowError,
    Steps,
    current,
    named,
)
from stepflow.drivers.postgres import PostgresDriver
from stepflow.drivers.rocksdb import RocksdbDriver
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.testing import VirtualClock
from tests.postgres.banks import Bank, ainsert, insert, postgres_bank
from tests.postgres.server import Server

Order = dict[str, Any]


def pay(order: Order, connection: Any) -> None:
    order["paid"] = insert(connection, f"pay {order['id']}")


async def apay(order: Order, connection: psycopg.AsyncConnection[Any]) -> None:
    order["apaid"] = await ainsert(connection, f"apay {order['id']}")


def ship(order: Order) -> None:
    order["shipped"] = order["paid"]


def note(connection: Any) -> None:
    insert(connection, f"note {current().run_id}")


def test_a_step_commits_what_it_wrote_with_the_position(bank: Bank) -> None:
    chain = named("order", dict).do("pay", pay, transaction=True).do("ship", ship)
    if isinstance(bank.driver, PostgresDriver):
        chain = chain.do("apay", apay, transaction=True, timeout=10)
    flow = chain.do("note", note, transaction=True).compile()
    with Engine(bank.driver) as engine:
        engine.register(flow)
        run = engine.start(flow, {"id": 1}, id="r")
        with engine.worker():
            result = run.result(60)
        assert (result["paid"], result["shipped"]) == ("pay 1", "pay 1")
        assert len(run.history()) == (5 if "apaid" in result else 4)
    assert bank.names() == (["apay 1"] if "apaid" in result else []) + ["note r", "pay 1"]


def test_a_step_that_raises_takes_its_writes_back_and_a_group_makes_it_again(bank: Bank) -> None:
    seen: list[Any] = []

    def shaky(order: Order, connection: Any) -> None:
        seen.append(order.get("paid"))
        pay(order, connection)
        if len(seen) < 3:
            connection.execute("insert into nowhere values (1)")

    group = Steps(dict).do("pay", shaky, transaction=True)
    flow = named("order", dict).retry("again", RetryPolicy(max_attempts=3, delay=1), group).compile()
    clock = VirtualClock()
    with Engine(bank.driver, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow, {"id": 1})
        engine.run_until_idle(advance=True)
        assert run.result()["paid"] == "pay 1"
    assert (bank.names(), seen) == (["pay 1"], [None, None, None])


@pytest.mark.parametrize("bad", ["raises", "cannot be stored", "once"])
def test_a_step_that_fails_for_good_leaves_nothing(bank: Bank, bad: str) -> None:
    def fails(order: Order, connection: Any) -> None:
        pay(order, connection)
        if bad == "once":
            current().once("key", int)
        order["bad"] = object()
        if bad == "raises":
            raise ValueError

    flow = named("order", dict).do("pay", fails, transaction=True).compile()
    with Engine(bank.driver) as engine:
        engine.register(flow)
        run = engine.start(flow, {"id": 1})
        engine.run_until_idle()
        with pytest.raises(RunFailed) as found:
            run.result()
        assert (
            found.value.type == {"raises": "ValueError", "cannot be stored": "CodecError", "once": "StepflowError"}[bad]
        )
    assert bank.names() == []


def test_a_claim_that_was_lost_takes_the_writes_back(server: Server) -> None:
    bank, inside, go_on = postgres_bank(server), threading.Event(), threading.Event()
    calls: list[int] = []

    def slow(order: Order, connection: Any) -> None:
        calls.append(1)
        insert(connection, f"{len(calls)}")
        if len(calls) == 1:
            inside.set()
            go_on.wait()

    flow = named("order", dict).do("pay", slow, transaction=True).compile()
    with Engine(bank.driver) as first, Engine(bank.driver) as second:
        first.register(flow)
        second.register(flow)
        run = first.start(flow, {"id": 1}, id="r")
        with first.worker():
            inside.wait()
            with psycopg.connect(server.uri, autocommit=True) as connection:  # as if others had taken it for dead
                connection.execute("update emptied.queue set owner = '', epoch = null, partition = 1, due = 0")
                connection.execute("update emptied.states set epoch = nextval('emptied.epochs')")
            with second.worker():
                assert second.get(flow, "r").result(60) == {"id": 1}
            go_on.set()
        assert run.status() == "completed"
    assert bank.names() == ["2"]


def test_stores_without_such_transactions_refuse_the_flow_at_registration(tmp_path: Path) -> None:
    chain = named("order", dict).steps("money", Steps(dict).do("pay", pay, transaction=True)).compile()
    achain = named("aorder", dict).do("apay", apay, transaction=True).compile()
    for driver in (MemoryDriver(), RocksdbDriver(tmp_path / "rocks")):
        with Engine(driver) as engine, pytest.raises(DefinitionError, match=r"order/money/pay: .* has no transactions"):
            engine.register(chain)
    with Engine(SqliteDriver(tmp_path / "runs.db")) as engine:
        engine.register(chain)
        with pytest.raises(DefinitionError, match=r"aorder/apay: .* no connection for async functions"):
            engine.register(achain)


def test_the_definition_is_checked_and_plain_apply_refuses_the_step() -> None:
    with pytest.raises(DefinitionError, match=r"fn\(exchange, connection\) or fn\(connection\)"):
        named("order", dict).do("pay", lambda: None, transaction=True).compile()
    with pytest.raises(DefinitionError, match="transaction=1: give True or False"):
        named("order", dict).do("pay", pay, transaction=1).compile()  # type: ignore[call-overload]
    flow = named("order", dict).do("pay", pay, transaction=True).compile()
    with pytest.raises(NeedsEngine, match="order/pay needs a transaction of a store"):
        flow.apply([], {"id": 1})
    assert [str(one) for one in flow.check()] == [
        "order/pay: needs a transaction of a store: plain apply raises NeedsEngine (engine-only)"
    ]
    replaced = flow.replace("pay", lambda connection: None)
    assert replaced.transitions == flow.transitions
    with pytest.raises(StepflowError, match=r"fn\(exchange, connection\)"):
        flow.replace("pay", lambda: None)
