"""Runs that were not started in a trace get one, and each process keeps the trace of a run."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stepflow import Context, Engine, MemoryDriver, named, workflow
from stepflow.drivers.rocksdb import RocksdbDriver
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.testing import VirtualClock
from tests.engine.flows import Order, note
from tests.instrument.told import Told


def _work(number: int) -> int:
    return number + 1


@workflow("order")
def sleeps(wf: Context, order: Order) -> int:
    wf.sleep("cool off", timedelta(hours=1))
    return wf.execute("create", _work, 1)


WAITS = (
    named("order", Order).do("pay", note("pay")).wait_for("paid", lambda order: order.amount > 1, every=3600).compile()
)


@pytest.mark.parametrize("store", ["memory", "sqlite", "rocksdb"])
@pytest.mark.parametrize("definition", [sleeps, WAITS], ids=["workflow", "chain"])
def test_a_run_that_was_started_without_a_trace_gets_one_with_its_first_commit(
    store: str, definition: Any, told: Told, clock: VirtualClock, tmp_path: Path
):
    drivers: dict[str, Any] = {"sqlite": SqliteDriver, "rocksdb": RocksdbDriver}
    driver = MemoryDriver() if store == "memory" else drivers[store](tmp_path / "runs")
    with Engine(driver, clock=clock) as engine:
        engine.start(definition, Order())
    for _ in range(2):
        with Engine(driver, clock=clock, instrument=told.instrument) as engine:
            engine.register(definition)
            engine.run_until_idle()
        clock.advance(timedelta(hours=1))
    assert [told.parent(span) for span in told.spans("attempt order")] == ["", "attempt order"]
    assert len(told.traces()) == 1


def test_engines_without_providers_keep_the_trace_of_a_run(told, clock, tmp_path):
    driver = SqliteDriver(tmp_path / "runs.db")
    definition = named("order", Order).wait_event("paid", "payment", int, lambda order, amount: None).compile()
    with Engine(driver, clock=clock, instrument=told.instrument) as engine:
        run = engine.start(definition, Order(), id="one")
    with Engine(driver, clock=clock) as engine:
        engine.register(definition)
        engine.run_until_idle()
        engine.get("one").publish("payment", 1)
    with Engine(driver, clock=clock, instrument=told.instrument) as engine:
        engine.register(definition)
        engine.run_until_idle()
        run = engine.get("one")
        assert run.status() == "completed"
    assert told.parent(told.span("attempt order")) == "start order"


def test_a_run_of_a_schedule_is_one_trace(told, engine, clock):
    @workflow("report")
    def report(wf: Context, number: int) -> int:
        wf.sleep("later", timedelta(minutes=1))
        return wf.execute("count", _work, number)

    engine.register(report)
    engine.schedule("nightly", report, 1, every=timedelta(hours=1))
    engine.run_until_idle(advance=True, until=timedelta(minutes=62))
    assert [told.parent(span) for span in told.spans("attempt report")] == ["", "attempt report"]
    assert len(told.traces()) == 1
