"""What surrounds a step: context variables, an event loop of its own, and other runs that it waits for."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest

from stepflow import AsyncEngine, Engine, Steps, current, named
from stepflow.testing import VirtualClock

request: ContextVar[str] = ContextVar("request", default="-")


async def set_async() -> None:
    request.set("set")


def set_sync() -> None:
    request.set("set")


async def nothing() -> None:
    """An async step, which lets the run be advanced on the event loop."""


@pytest.mark.parametrize("virtual", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("setter", [set_sync, set_async])
@pytest.mark.parametrize("fails", [False, True])
def test_all_steps_of_a_claim_share_their_context(virtual, mixed, setter, fails):
    seen: list[str] = []

    def failing() -> None:
        request.set("failed")
        raise ValueError

    chain: Any = named("f").do("bind", setter)
    if fails:
        chain = chain.retry(
            "r", lambda _error: seen.append(request.get()) or len(seen) < 3, Steps().do("fail", failing)
        )
    else:
        chain = chain.do("log", lambda: seen.append(request.get()))
    flow = (chain.do("n", nothing) if mixed else chain).compile()
    with Engine("memory://", clock=VirtualClock() if virtual else None) as engine:
        engine.register(flow)
        engine.start(flow)
        engine.start(flow)
        engine.run_until_idle()
    assert set(seen) == ({"failed"} if fails else {"set"})
    assert request.get() == "-"


async def answer() -> int:
    await asyncio.sleep(0)
    return 42


@pytest.mark.parametrize("clock", [None, VirtualClock()], ids=["system", "virtual"])
def test_a_sync_step_has_no_running_loop_and_may_run_one(clock):
    found: list[Any] = []

    def step() -> None:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        found.append(asyncio.run(answer()))

    def start_another() -> None:
        async def inner() -> str:
            return engine.start(other, id="other").id  # the engine's own work under virtual time

        found.append(engine.start(other).id if clock is None else asyncio.run(inner()))
        found.append(current().step)

    other = named("other").do("a", lambda: None).compile()
    flow = named("f").do("run", step).do("start", start_another).compile()
    with Engine("memory://", clock=clock) as engine:
        engine.register(flow, other)
        run = engine.start(flow)
        engine.run_until_idle()
        assert run.status() == "completed"
        assert engine.tally()["other"] == {"completed": 1}
    assert (found[0], found[2]) == (42, "start")


@pytest.mark.parametrize("limit", [None, 1])
def test_steps_that_wait_for_other_runs_lend_their_slots(limit):
    """Two parents fill all slots; their children, and the children of those, still get one."""
    leaf = named("leaf").do("work", lambda: None).compile()
    with Engine("memory://", concurrency=2) as engine:
        child = named("child").do("ask", lambda: engine.start(leaf).result(timeout=60)).compile(concurrency=limit)
        parent = named("parent").do("ask", lambda: engine.start(child).result(timeout=60)).compile(concurrency=limit)
        engine.register(parent, child, leaf)
        with engine.worker():
            for run in [engine.start(parent) for _ in range(5)]:
                run.result(timeout=60)
        assert engine.tally() == {name: {"completed": 5} for name in ("parent", "child", "leaf")}


def test_async_steps_lend_their_slots_too():
    async def go() -> None:
        async with AsyncEngine("memory://", concurrency=1) as engine:
            child = named("child").do("work", nothing).compile()

            async def ask() -> None:
                runs = [await engine.start(child) for _ in range(3)]
                await asyncio.gather(*(run.result(timeout=60) for run in runs))

            parent = named("parent").do("ask", ask).compile()
            engine.register(parent, child)
            async with engine.worker():
                await (await engine.start(parent)).result(timeout=60)
            assert not engine._session.worker._lent

    asyncio.run(go())
