"""Order of runs: priority, due time, id; limits per flow; and deterministic virtual time."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from stepflow import AsyncEngine, Engine, MemoryDriver, RetryPolicy, Steps, current, named
from stepflow.testing import VirtualClock
from tests.engine.flows import Flaky, Order, note, told


def order_of(seen: list[str], name: str = "x", **options: Any) -> Any:
    return named(name, Order).do("look", lambda: seen.append(current().run_id)).compile(**options)


def test_low_priority_numbers_go_first_then_due_then_id(engine, clock):
    seen: list[str] = []
    flow = order_of(seen)
    engine.register(flow)
    now = clock.datetime()
    engine.start(flow, Order(), id="late", priority=5)
    engine.start(flow, Order(), id="c", at=now - timedelta(seconds=1))
    engine.start(flow, Order(), id="b")
    engine.start(flow, Order(), id="a")
    engine.start(flow, Order(), id="urgent", priority=-1)
    engine.run_until_idle()
    assert seen == ["urgent", "c", "a", "b", "late"]


def test_a_flow_with_a_limit_of_its_own_takes_turns_with_one_without(engine):
    seen: list[str] = []
    limited, free = order_of(seen, "limited", concurrency=1), order_of(seen, "free")
    engine.register(free, limited)
    for n in range(4):
        engine.start((free, limited)[n // 2], Order(), id=f"run-{n}")
    engine.run_until_idle()
    assert seen == ["run-0", "run-2", "run-1", "run-3"]


def test_a_start_time_in_the_future_is_kept(engine, clock):
    seen: list[str] = []
    flow = order_of(seen)
    engine.register(flow)
    start = clock.datetime()
    for n in (3, 1, 2):
        engine.start(flow, Order(), id=f"run-{n}", at=start + timedelta(hours=n))
    assert engine.run_until_idle().next_due == start + timedelta(hours=1)
    assert seen == []
    idle = engine.run_until_idle(advance=True)
    assert (idle.completed, idle.waiting, idle.next_due) == (3, 0, None)
    assert seen == ["run-1", "run-2", "run-3"]
    assert clock.datetime() == start + timedelta(hours=3)


def test_a_start_time_in_the_past_is_now(engine, clock):
    flow = order_of([])
    engine.register(flow)
    engine.start(flow, Order(), at=clock.datetime() - timedelta(days=9))
    assert engine.run_until_idle().completed == 1


def busy_history(store: Any) -> list[Any]:
    clock = VirtualClock(seed=7)
    flaky = (
        named("flaky", Order)
        .retry("r", RetryPolicy(delay=3), Steps(Order).do("f", Flaky(6)))
        .compile(retry=RetryPolicy(delay=5))
    )
    polls: list[int] = []
    poll = named("poll", Order).do("a", note("a")).wait_for("w", lambda: bool(polls.append(1)) or len(polls) > 9)
    poll_flow = poll.do("b", note("b")).compile()
    with Engine(store, clock=clock) as engine:
        engine.register(flaky, poll_flow)
        runs = [engine.start(flow, Order()) for flow in (flaky, poll_flow) * 5]
        engine.run_until_idle(advance=True)
        first = runs[0].history()[0].rev
        return [(run.id, e.rev - first, e.at, *told(e)) for run in runs for e in run.history()]


def test_the_same_scenario_gives_the_same_revisions_at_the_same_times(store):
    assert busy_history(store) == busy_history(MemoryDriver())


@pytest.mark.parametrize("limit", [1, 3])
def test_a_flow_limits_its_own_runs(store, limit):
    now, most = [0, 0], [0, 0]
    everybody = asyncio.Event()

    def counting(which: int) -> Any:
        async def step() -> None:
            now[which] += 1
            most[which] = max(most[which], now[which])
            if now[1] == 8:  # all the free ones at the same time, so the limited ones had their chance
                everybody.set()
            if which:
                await everybody.wait()
            for _ in range(20):
                await asyncio.sleep(0)
            now[which] -= 1

        return step

    limited = named("limited").do("s", counting(0)).compile(concurrency=limit)
    free = named("free").do("s", counting(1)).compile()

    async def go() -> None:
        async with AsyncEngine(store) as engine:
            engine.register(limited, free)
            for n in range(8):
                await engine.start(limited, id=f"limited-{n}")
                await engine.start(free, id=f"free-{n}")
            assert (await engine.run_until_idle()).completed == 16

    asyncio.run(go())
    assert most == [limit, 8]


def test_an_engine_limits_all_runs(store):
    now, most = [0], [0]

    async def step() -> None:
        now[0] += 1
        most[0] = max(most[0], now[0])
        for _ in range(20):
            await asyncio.sleep(0)
        now[0] -= 1

    flow = named("x").do("s", step).compile()
    with Engine(store, concurrency=3) as engine:
        engine.register(flow)
        for _ in range(20):
            engine.start(flow)
        assert engine.run_until_idle().completed == 20
    assert most == [3]


def test_with_a_virtual_clock_one_run_is_advanced_at_a_time(engine):
    log: list[str] = []

    async def step() -> None:
        log.append(current().run_id)
        await asyncio.sleep(0)
        log.append(current().run_id)

    flow = named("x").do("s", step).compile()
    engine.register(flow)
    for n in range(3):
        engine.start(flow, id=f"run-{n}")
    engine.run_until_idle()
    assert log == ["run-0", "run-0", "run-1", "run-1", "run-2", "run-2"]


def test_advance_needs_a_virtual_clock(store):
    with Engine(store) as engine, pytest.raises(Exception, match=r"Engine\(\.\.\., clock=VirtualClock\(\)\)"):
        engine.run_until_idle(advance=True)
