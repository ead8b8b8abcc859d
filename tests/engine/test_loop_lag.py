"""An AsyncEngine never blocks the event loop that it runs on, unless its owner says that the loop is the engine's own."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from stepflow import AsyncEngine, Engine, MemoryDriver, named
from stepflow.drivers.memory.session import MemoryStore
from stepflow.drivers.port.commit import Owner
from stepflow.engine.clock import SystemClock
from tests.engine.flows import Order, anote, chain

WAIT_S = 60.0
STALL_S = 20.0  # only if the loop is what waits
CALLS = ("commit", "commit_if_free", "claim", "claim_if_free", "release", "beat", "load", "read", "next_due")


class Stalling(MemoryDriver):
    """A store that notes which thread makes a call; while `stalled` a commit waits until `go_on` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: set[tuple[str, str]] = set()
        self.stalled, self.entered, self.go_on = False, threading.Event(), threading.Event()

    def connect(self, namespace: str, owner: Owner, now: int) -> MemoryStore:
        store = super().connect(namespace, owner, now)
        for name in CALLS:
            setattr(store, name, self._noted(name, getattr(store, name)))
        return store

    def _noted(self, name: str, method: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            self.calls.add((name, threading.current_thread().name))
            if self.stalled and name in ("commit", "commit_if_free"):
                self.entered.set()
                self.go_on.wait(STALL_S)
            return method(*args, **options)

        return call


def test_the_loop_goes_on_while_the_disk_stalls():
    async def test() -> None:
        driver, clock = Stalling(), SystemClock()
        flow = named("x", Order).do("a", anote("a")).do("b", anote("b")).compile()
        async with AsyncEngine(driver) as engine:
            engine.register(flow)
            async with engine.worker():
                await (await engine.start(flow, Order())).result(WAIT_S)  # everything is warm
                driver.stalled = True
                starts = [asyncio.create_task(engine.start(flow, Order())) for _ in range(10)]
                lags, last = [], clock.monotonic()
                while len(lags) < 2000 or not driver.entered.is_set():
                    await asyncio.sleep(0)
                    now = clock.monotonic()
                    lags.append(now - last)
                    last = now
                assert not any(task.done() for task in starts)
                assert max(lags) < STALL_S / 2  # the loop would stand still for all of it
                assert sorted(lags)[len(lags) * 99 // 100] < 0.05
                driver.go_on.set()
                for run in await asyncio.gather(*starts):
                    await run.result(WAIT_S)

    asyncio.run(test())


def test_no_call_of_the_store_is_made_on_the_loop():
    async def test() -> None:
        driver = Stalling()
        flow, sync = named("x", Order).do("a", anote("a")).compile(), chain("y", "a")
        waiting = named("z", Order).wait_event("e", "paid", str, lambda order, _: None).compile()
        async with AsyncEngine(driver) as engine:
            engine.register(flow, sync)
            async with engine.worker():
                runs = [await engine.start(kind, Order()) for kind in (flow, sync) for _ in range(100)]
                await engine.start_many(sync, [(None, Order()) for _ in range(100)])
                for run in runs:
                    await run.result(WAIT_S)
                await runs[0].history()
                await engine.tally()
            waits = await engine.start(waiting, Order())
            await waits.publish("paid", "1")
            await waits.cancel()
        assert {name for name, _thread in driver.calls} >= {"commit", "claim", "beat", "load", "next_due", "read"}
        assert [name for name, thread in driver.calls if thread == threading.current_thread().name] == []

    asyncio.run(test())


@pytest.mark.parametrize("blocking", [False, True])
def test_the_loop_commits_where_it_is_the_engines_own(blocking: bool):
    driver, flow = Stalling(), chain("x", "a")
    if blocking:
        with Engine(driver) as engine:
            engine.start(flow, Order())
    else:

        async def test() -> None:
            async with AsyncEngine(driver, commit_on_loop=True) as engine:
                await engine.start(flow, Order())

        asyncio.run(test())
    assert ("commit" if blocking else "commit_if_free", threading.current_thread().name) in driver.calls
