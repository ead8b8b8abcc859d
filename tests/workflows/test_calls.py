"""The durable calls of a workflow: each is made once, its value comes back at each replay, waits hold no worker."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stepflow import AsyncContext, AsyncEngine, Context, Engine, RetryPolicy, RunFailed, TimedOut, current, workflow
from stepflow.drivers.port.store import Driver
from stepflow.testing import VirtualClock
from tests.workflows.flows import CALLS, Customer, Signup, adouble, asignup, double, signup


@pytest.mark.parametrize("flow", [signup, asignup], ids=["sync", "async"])
def test_a_workflow_sleeps_waits_and_completes_and_calls_each_step_once(
    flow: Any, store: Driver, clock: VirtualClock
) -> None:
    CALLS.clear()
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow, Signup("bob"), id="r")
        idle = engine.run_until_idle()
        assert idle.next_due == clock.datetime() + timedelta(days=3)
        info = run.info()
        assert (info.status, info.position, info.waiting_for) == ("sleeping", ["sleep:cool-off/v1"], "delay")
        clock.advance(timedelta(days=3))
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.get(flow, "r")
        engine.run_until_idle()
        info = run.info()
        assert (info.status, info.waiting_for) == ("waiting", "event:CustomerNumberEvent")
        assert info.deadline == clock.datetime() + timedelta(days=7)
        assert "it waits for event 'CustomerNumberEvent'" in run.explain()
        run.publish("CustomerNumberEvent", 42)
        engine.run_until_idle()
        found = run.result()
        assert found == Customer("bob", 42, found.token)
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", found.token)
        assert run.status() == "completed"
    assert sum(CALLS.values()) == 2
    assert set(CALLS.values()) == {1}


def test_an_event_that_does_not_come_in_time_times_out_also_at_the_replay(store: Driver, clock: VirtualClock) -> None:
    @workflow("w")
    def flow(wf: Context) -> str:
        try:
            wf.wait_for_event("n", "Number", int, timeout=5)
        except TimedOut as error:
            wf.sleep("later", 5)
            return str(error)
        return "came"

    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        clock.advance(5)
        run.publish("Number", 1)  # too late
        engine.run_until_idle()
        clock.advance(5)
        engine.run_until_idle()
        assert run.result() == "n: no event 'Number' within 5 s"


def test_events_are_taken_once_and_in_order_and_those_before_the_wait_count(store: Driver, clock: VirtualClock) -> None:
    @workflow("w")
    def flow(wf: Context) -> list[int]:
        first = [wf.wait_for_event(f"n/{i}", "Number", int) for i in range(3)]
        wf.sleep("s", 1)
        return [*first, wf.wait_for_event("last", "Number", int, latch=True)]

    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow)
        run.publish("Number", 1)
        run.publish("Number", 2)
        engine.run_until_idle()
        assert run.info().position == ["event:n/2"]
        run.publish("Number", 3)
        run.publish("Number", 4)
        run.publish("Number", 5)
        engine.run_until_idle()
        clock.advance(1)
        engine.run_until_idle()
        assert run.result() == [1, 2, 3, 5]


def test_an_event_that_does_not_fit_its_type_fails_the_wait_and_is_used_up(store: Driver, clock: VirtualClock) -> None:
    @workflow("w")
    def flow(wf: Context) -> int:
        return wf.wait_for_event("n", "Number", int)

    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow)
        run.publish("Number", "many", id="e")
        engine.run_until_idle()
        with pytest.raises(RunFailed, match=r"CodecError: event 'Number' \(id 'e'\).*expected int"):
            run.result()


def test_time_chance_and_identity_are_the_same_at_each_replay(store: Driver, clock: VirtualClock) -> None:
    seen: list[Any] = []

    @workflow("w")
    def flow(wf: Context) -> str:
        found = (wf.now("now"), wf.random_uint64("big"), wf.random_uuid7("id"), wf.run_id, current().step)
        seen.append(found)
        wf.sleep_until("s", datetime(2000, 1, 2, tzinfo=UTC))
        return current().key

    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow, id="r")
        began = clock.datetime()
        engine.run_until_idle(advance=True)
        assert run.result() == "w/r/"
    assert len(seen) == 2
    assert seen[0] == seen[1]
    assert seen[0][0] == began
    assert 0 <= seen[0][1] < 2**64
    assert seen[0][3:] == ("r", "")
    assert clock.datetime() == datetime(2000, 1, 2, tzinfo=UTC)


def test_a_step_sees_its_key_and_its_attempt(store: Driver, clock: VirtualClock) -> None:
    def step() -> str:
        return f"{current().key} {current().attempt}"

    @workflow("w")
    def flow(wf: Context) -> str:
        return wf.execute("pay/v1", step)

    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow, id="r")
        engine.run_until_idle()
        assert run.result() == "w/r/pay/v1 1"


def test_a_value_comes_back_as_its_type_says_also_at_first(store: Driver, clock: VirtualClock) -> None:
    made: list[Any] = []

    def find() -> list[Signup]:
        made.append([Signup("a")])
        return made[-1]

    def plain():  # type: ignore[no-untyped-def]
        return {"a": [1]}

    @workflow("w")
    def flow(wf: Context) -> bool:
        found = wf.execute("find", find)
        return found == made[0] and found[0] is not made[0][0] and wf.execute("plain", plain) == {"a": [1]}

    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        assert run.result() is True


def test_what_a_step_returns_must_be_storable(store: Driver, clock: VirtualClock) -> None:
    def bad():  # type: ignore[no-untyped-def]
        return object()

    @workflow("w")
    def flow(wf: Context) -> None:
        wf.execute("bad", bad)

    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        with pytest.raises(RunFailed, match=r"CodecError: .*annotate what the function returns"):
            run.result()


class Service:
    """A workflow with a client of its own."""

    def __init__(self, rate: int) -> None:
        self.rate = rate

    def price(self, amount: int) -> int:
        return amount * self.rate

    def run(self, wf: Context, amount: int) -> int:
        return wf.execute("price", self.price, amount)


def test_an_object_with_a_method_run_is_a_workflow(store: Driver, clock: VirtualClock) -> None:
    flow = workflow("service/v1")(Service(3))
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow, 4)
        engine.run_until_idle()
        assert run.result() == 12


def test_a_sleep_of_no_time_goes_on_at_once(store: Driver, clock: VirtualClock) -> None:
    @workflow("w")
    def flow(wf: Context) -> int:
        wf.sleep("a", 0)
        wf.sleep("b", -5)
        wf.sleep_until("c", clock.datetime() - timedelta(days=1))
        return 1

    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        assert run.result() == 1
        assert len(run.history()) == 2


def test_a_sleep_ends_when_it_was_planned_to_end_whatever_the_code_says_later(
    store: Driver, clock: VirtualClock
) -> None:
    lengths = iter([10, 10_000])

    @workflow("w")
    def flow(wf: Context) -> int:
        wf.sleep("a", next(lengths))
        return 1

    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        clock.advance(10)
        engine.run_until_idle()
        assert run.result() == 1


@workflow("burst")
def burst(wf: Context, n: int) -> int:
    total = 0
    for i in range(n):
        total += wf.execute(f"double/{i}", double, i)
    wf.sleep("s", 0.01)
    return total


@workflow("aburst")
async def aburst(wf: AsyncContext, n: int) -> int:
    total = 0
    for i in range(n):
        total += await wf.execute(f"double/{i}", adouble if i % 2 else double, i)
    await wf.sleep("s", 0.01)
    return total


@pytest.mark.parametrize("flow", [burst, aburst], ids=["sync", "async"])
def test_many_runs_at_once_in_real_time(flow: Any, store: Driver) -> None:
    CALLS.clear()
    with Engine(store) as engine:
        engine.register(flow)
        runs = engine.start_many(flow, [(f"r{n}", n) for n in range(20)])
        with engine.worker():
            assert [run.result(timeout=60) for run in runs] == [n * (n - 1) for n in range(20)]
    assert CALLS.total() == sum(range(20))


@pytest.mark.parametrize("flow", [burst, aburst], ids=["sync", "async"])
def test_an_async_engine_advances_both_kinds(flow: Any, store: Driver) -> None:
    async def main() -> list[int]:
        async with AsyncEngine(store) as engine:
            engine.register(flow)
            runs = await engine.start_many(flow, [(None, n) for n in range(10)])
            async with engine.worker():
                return [await run.result(timeout=60) for run in runs]

    assert asyncio.run(main()) == [n * (n - 1) for n in range(10)]


def test_run_until_idle_of_a_blocking_engine_in_real_time(store: Driver) -> None:
    with Engine(store) as engine:
        engine.register(burst, signup)
        run, other = engine.start(burst, 3), engine.start(signup, Signup("x"))
        engine.run_until_idle()
        assert other.status() == "sleeping"
        with engine.worker():
            assert run.result(timeout=60) == 6


def test_the_exchange_of_a_run_is_its_input_and_then_its_result(store: Driver, clock: VirtualClock) -> None:
    with Engine(store, clock=clock) as engine:
        engine.register(signup)
        run = engine.start(signup, Signup("bob"))
        engine.run_until_idle()
        assert run.exchange() == Signup("bob")
        run.publish("CustomerNumberEvent", 1)
        engine.run_until_idle(advance=True)
        assert run.exchange() == run.result()
        assert run.history()[0].exchange == {"name": "bob"}


@workflow("rounds")
def rounds(wf: Context, inp: Signup) -> str:
    found = wf.wait_for_event("next", "next", str)
    wf.sleep("s", 1)
    if found != "stop":
        wf.continue_as_new(Signup(inp.name + found))
    return inp.name


def test_continue_as_new_drops_the_journal_and_keeps_events(store: Driver, clock: VirtualClock) -> None:
    with Engine(store, clock=clock) as engine:
        engine.register(rounds)
        run = engine.start(rounds, Signup(""), labels={"a": "b"})
        for text in ("x", "y", "z", "stop"):
            run.publish("next", text)
        engine.run_until_idle(advance=True)
        assert run.result() == "xyz"
        assert run.info().labels == {"a": "b"}


@pytest.mark.parametrize("style", ["sync", "async"])
def test_the_key_of_a_step_is_another_one_in_each_pass(store: Driver, clock: VirtualClock, style: str) -> None:
    """Else a payment service takes the second month for a repetition of the first."""
    keys: list[str] = []

    def charge(month: int) -> None:
        keys.append(current().key)
        if len(keys) % 2:
            raise ConnectionError

    def note(item: int) -> None:
        keys.append(current().key)

    again = RetryPolicy(max_attempts=2, delay=0.0)

    @workflow("w")
    def sync_flow(wf: Context, month: int) -> None:
        wf.execute("charge", charge, month, retry=again)
        wf.map("note", note, [month, month], width=1)
        if month < 2:
            wf.continue_as_new(month + 1)

    @workflow("w")
    async def async_flow(wf: AsyncContext, month: int) -> None:
        await wf.gather(wf.execute("charge", charge, month, retry=again))
        await wf.map("note", note, [month, month], width=1)
        if month < 2:
            await wf.continue_as_new(month + 1)

    flow: Any = {"sync": sync_flow, "async": async_flow}[style]
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow, 0, id="r")
        engine.run_until_idle(advance=True)
        assert run.result() is None
    first = ["w/r/charge", "w/r/charge", "w/r/note[0]", "w/r/note[1]"]
    assert keys == first + [f"{key}#1" for key in first] + [f"{key}#2" for key in first]


def test_continue_as_new_with_another_type_blocks_the_run(store: Driver, clock: VirtualClock) -> None:
    @workflow("w")
    def flow(wf: Context, inp: Signup) -> None:
        wf.continue_as_new(3)

    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow, Signup("a"))
        engine.run_until_idle()
        assert "continue_as_new(): " in str(run.info().blocked)
