"""info().input: what a workflow was started with, also when its exchange is that of a later call, or the result."""

from __future__ import annotations

from typing import Any

from attrs import define

from stepflow import Context, Engine, MemoryDriver, Zlib, named, workflow
from stepflow.drivers.port.store import Driver
from stepflow.testing import VirtualClock


@define
class Order:
    n: int


@workflow("order")
def order(wf: Context, inp: Order) -> str:
    wf.sleep("s", 10)
    if inp.n == 0:
        raise ValueError("none")
    return f"shipped {inp.n}"


@workflow("endless")
def endless(wf: Context, n: int) -> int:
    wf.sleep("s", 1)
    if n < 3:
        wf.continue_as_new(n + 1)
    return 10 * n


@workflow("same")
def same(wf: Context, n: int) -> int:
    return n


@workflow("measured")
def measured(wf: Context, text: str) -> int:
    return len(text)


def add(order: Order) -> None:
    order.n += 1


chain = named("chain", Order).do("add", add).compile()


def test_the_input_stays_readable(store: Driver, clock: VirtualClock) -> None:
    with Engine(store, clock=clock) as engine:
        engine.register(order, endless, same, chain)
        runs: list[Any] = [engine.start(order, Order(n), id=f"o{n}") for n in range(3)]
        runs += [engine.start(endless, 1), engine.start(same, 7), engine.start(chain, Order(1))]
        engine.run_until_idle()
        assert [run.info().input for run in runs] == [{"n": 0}, {"n": 1}, {"n": 2}, 1, 7, None]
        runs[2].cancel()
        engine.run_until_idle(advance=True)
        assert [run.info().input for run in runs] == [{"n": 0}, {"n": 1}, {"n": 2}, 1, 7, None]
        assert [str(run.status()) for run in runs] == ["failed", "completed", "cancelled", *["completed"] * 3]
        assert runs[1].exchange() == "shipped 1"
        assert {info.id: info.input for info in engine.runs(flow="order")} == {"o0": None, "o1": None, "o2": None}


def test_an_input_that_cannot_be_opened_here_is_left_out(clock: VirtualClock) -> None:
    store, text = MemoryDriver(), "x" * 1000
    with Engine(store, clock=clock, payload=[Zlib(over=1)]) as engine:
        engine.register(measured)
        engine.start(measured, text, id="done")
        engine.run_until_idle()
        engine.start(measured, text, id="open")
        assert [engine.get(run_id).info().input for run_id in ("done", "open")] == [text, text]
    with Engine(store, clock=clock) as engine:
        assert [engine.get(run_id).info().input for run_id in ("done", "open")] == [None, None]
