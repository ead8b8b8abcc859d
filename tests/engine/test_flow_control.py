"""Flow control at start: limits, deduplication, and many runs at once, through an engine."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from stepflow import AsyncEngine, Engine, Limit, RetryPolicy, RunExists, Status, StepflowError, Steps, StoreError, named
from stepflow.drivers.port.store import Driver
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.engine.clock import utc_text
from stepflow.testing import VirtualClock
from stepflow.testing.conformance.cases.kit import on_loop
from tests.engine.flows import Order, note

pay_flow = named("pay.v1", Order).do("pay", note("paid")).compile()


def started(engine: Engine, number: int, limits, flow=pay_flow, **how) -> list[str]:
    return [
        run.id for run in engine.start_many(flow, [(f"r{n}", Order(n)) for n in range(number)], limits=limits, **how)
    ]


@on_loop
async def test_no_more_runs_are_advanced_at_a_time_than_the_limit_over_two_workers(store: Driver) -> None:
    busy, most = Counter(), Counter()

    async def work(order: Order) -> None:
        key = "even" if order.amount % 2 == 0 else "odd"
        busy[key] += 1
        most[key] = max(most[key], busy[key])
        await asyncio.sleep(0)
        busy[key] -= 1

    flow = named("work.v1", Order).do("one", work).do("two", work).compile()
    async with AsyncEngine(store) as one, AsyncEngine(store) as two:
        for engine in (one, two):
            engine.register(flow)
        for n in range(40):
            await one.start(flow, Order(n), id=f"r{n}", limits=Limit("even", 2) if n % 2 == 0 else Limit("odd", 5))
        await asyncio.gather(one.run_until_idle(), two.run_until_idle())
        while (idle := await one.tally())["work.v1"].get("completed") != 40:
            assert idle["work.v1"].keys() <= {"completed", "queued", "running"}
            await one.run_until_idle()
    assert most["even"] <= 2
    assert 2 < most["odd"] <= 5


def test_a_rate_starts_runs_period_by_period(engine: Engine, clock: VirtualClock) -> None:
    engine.register(pay_flow)
    started(engine, 7, Limit("mail", rate=3, per=timedelta(minutes=1)))
    begun = clock.datetime()
    idle = engine.run_until_idle()
    assert (idle.completed, idle.next_due) == (3, begun + timedelta(minutes=1))
    clock.advance(59.999)
    assert engine.run_until_idle().completed == 0
    clock.advance(0.001)
    assert engine.run_until_idle().completed == 3
    assert engine.run_until_idle(advance=True).completed == 1
    assert clock.datetime() == begun + timedelta(minutes=2)


def test_a_run_that_sleeps_leaves_its_share_to_others(engine: Engine, clock: VirtualClock) -> None:
    tries: list[int] = []

    def flaky(order: Order) -> None:
        tries.append(order.amount)
        if tries.count(order.amount) < 3:
            raise OSError

    flow = named("flaky.v1", Order).retry("again", RetryPolicy(delay=10, jitter=0), Steps().do("try", flaky)).compile()
    engine.register(flow)
    started(engine, 2, Limit("k", 1), flow)
    engine.run_until_idle()
    assert tries == [0, 1]
    assert engine.get("r0").status() == engine.get("r1").status() == Status.SLEEPING
    assert engine.run_until_idle(advance=True).completed == 2
    assert len(tries) == 6


def test_explain_names_the_runs_that_hold_the_places(store: Driver, engine: Engine, session) -> None:
    started(engine, 3, Limit("tenant/acme", 2))
    session("holder").claim({"pay.v1": pay_flow.definition}, round(engine.get("r0").info().due.timestamp() * 1e6), 9)
    assert engine.get("r0").status() is Status.RUNNING
    assert "at most 2 runs of 'tenant/acme' are held at a time, and these are: 'r0', 'r1'" in engine.get("r2").explain()
    assert engine.get("r2").info().limits == (Limit("tenant/acme", 2),)


def test_explain_tells_when_the_next_run_may_start(engine: Engine, clock: VirtualClock) -> None:
    engine.register(pay_flow)
    started(engine, 2, Limit("api", rate=1, per=90))
    engine.run_until_idle()
    until = utc_text(clock.datetime() + timedelta(seconds=90))
    assert f"at most 1 runs of 'api' begin within 90 s: the next one at {until}" in engine.get("r1").explain()


def test_a_priority_and_a_start_time_hold_within_a_limit(engine: Engine, clock: VirtualClock) -> None:
    order: list[int] = []
    flow = named("order.v1", Order).do("note", lambda given: order.append(given.amount)).compile()
    engine.register(flow)
    limit = Limit("k", 1)
    engine.start(flow, Order(1), limits=limit, priority=1)
    engine.start(flow, Order(2), limits=limit)
    engine.start(flow, Order(3), limits=limit, priority=-1, at=clock.datetime() + timedelta(hours=1))
    engine.start(flow, Order(4))
    engine.run_until_idle(advance=True)
    assert order == [2, 4, 1, 3]


def test_the_same_key_within_its_window_gives_the_run_that_is_there(engine: Engine, clock: VirtualClock) -> None:
    engine.register(pay_flow)
    first = engine.start(pay_flow, Order(1), dedup_key="invoice-7", dedup_window=60)
    assert engine.start(pay_flow, Order(2), id="mine", dedup_key="invoice-7").id == first.id
    other = named("other.v1", Order).do("pay", note("paid")).compile()
    assert engine.start(other, Order(1), dedup_key="invoice-7").id != first.id
    clock.advance(59)
    assert engine.start(pay_flow, Order(2), dedup_key="invoice-7").id == first.id
    clock.advance(1)
    later = engine.start(pay_flow, Order(3), dedup_key="invoice-7")
    assert later.id != first.id
    engine.run_until_idle()
    assert later.result().amount == 3
    with pytest.raises(StepflowError, match="mine"):
        engine.get("mine").info()


@on_loop
async def test_many_starts_with_one_key_start_one_run(store: Driver) -> None:
    async with AsyncEngine(store) as one, AsyncEngine(store) as two:
        starts = [engine.start(pay_flow, Order(n), dedup_key="k") for n in range(20) for engine in (one, two)]
        assert len({run.id for run in await asyncio.gather(*starts)}) == 1
        assert (await one.tally())["pay.v1"] == {"queued": 1}


def test_many_are_started_together_and_again(engine: Engine) -> None:
    engine.register(pay_flow)
    given = [("a", Order(1)), (None, Order(2)), ("b", Order(3))]
    runs = engine.start_many(pay_flow, given, labels={"batch": "x"}, priority=3)
    assert [run.id for run in runs if len(run.id) == 1] == ["a", "b"]
    assert len({run.info().rev for run in runs}) == 3
    assert {run.info().priority for run in runs} == {3}
    again = engine.start_many(pay_flow, [("a", Order(1)), ("c", Order(4))])
    assert [run.id for run in again] == ["a", "c"]
    assert engine.run_until_idle().completed == 4
    assert again[1].result().amount == 4
    assert engine.start_many(pay_flow, []) == []


def test_an_id_with_another_input_is_reported_after_the_others_are_started(engine: Engine) -> None:
    engine.start(pay_flow, Order(1), id="a")
    with pytest.raises(RunExists, match="'a' was started before with another input") as error:
        engine.start_many(pay_flow, [("b", Order(2)), ("a", Order(9)), ("c", Order(3))])
    assert error.value.run.exchange() == Order(1)
    assert engine.get(pay_flow, "c").exchange() == Order(3)


def test_one_input_that_cannot_be_stored_prevents_all_starts(engine: Engine) -> None:
    with pytest.raises(StepflowError, match="amount"):
        engine.start_many(pay_flow, [("a", Order(1)), ("b", Order(object()))])
    assert engine.tally() == {}


BAD = {
    "no Limit": ({"limits": "tenant"}, "give a Limit or several"),
    "a number": ({"limits": 3}, "give a Limit or several"),
    "one key twice": ({"limits": [Limit("k", 1), Limit("k", rate=2)]}, "give each key once"),
    "too many": ({"limits": [Limit(f"k{n}", 1) for n in range(11)]}, "a run can have 10"),
    "an empty key": ({"dedup_key": ""}, "non-empty text"),
    "a number as key": ({"dedup_key": 7}, "non-empty text"),
    "a long key": ({"dedup_key": "x" * 513}, "at most 512"),
    "half a pair": ({"dedup_key": "\ud800"}, "surrogate"),
    "no window": ({"dedup_key": "k", "dedup_window": 0}, "more than 0"),
    "a window that is no number": ({"dedup_key": "k", "dedup_window": float("nan")}, "more than 0"),
    "a window of words": ({"dedup_key": "k", "dedup_window": "1h"}, "not a duration"),
}


@pytest.mark.parametrize("name", BAD)
def test_invalid_arguments_are_refused_and_nothing_is_started(engine: Engine, name: str) -> None:
    how, says = BAD[name]
    with pytest.raises(StepflowError, match=says):
        engine.start(pay_flow, Order(1), **how)
    assert engine.tally() == {}


def test_limits_travel_through_a_transaction_of_the_caller(sqlite: SqliteDriver, clock: VirtualClock) -> None:
    with Engine(sqlite, clock=clock) as engine:
        engine.register(pay_flow)
        engine.tally()  # makes the tables
        tx = sqlite3.connect(sqlite.path)
        for n in range(3):
            engine.start(pay_flow, Order(n), limits=Limit("k", rate=1, per=60), tx=tx)
        with pytest.raises(StoreError, match="dedup_key"):
            engine.start(pay_flow, Order(9), dedup_key="k", tx=tx)
        tx.commit()
        tx.close()
        assert engine.run_until_idle().completed == 1
        assert engine.run_until_idle(advance=True).completed == 2


def test_a_limit_that_is_smaller_than_its_usage_waits(engine: Engine, session) -> None:
    started(engine, 3, Limit("k", 3))
    session("holder").claim({"pay.v1": pay_flow.definition}, int(datetime.now(UTC).timestamp() * 1e6), 9)
    engine.register(pay_flow)
    run = engine.start(pay_flow, Order(1), id="small", limits=Limit("k", 1))
    assert engine.run_until_idle().completed == 0
    assert "at most 1 runs of 'k'" in run.explain()
