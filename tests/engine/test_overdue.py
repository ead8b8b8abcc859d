"""A worker that cannot show that it lives claims nothing and gives up its runs; one that was taken for dead drops them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from attrs import evolve

from stepflow import AsyncEngine, MemoryDriver, named
from stepflow.drivers.memory.session import MemoryStore
from stepflow.drivers.port.commit import HeartbeatReply, Owner, Release
from stepflow.engine import session
from stepflow.engine.membership.heartbeat import OVERDUE_S, Heartbeat
from stepflow.engine.membership.notifier import Notifier
from stepflow.errors import Unavailable
from tests.engine.clocks import ManualClock
from tests.engine.heard import heard

WAIT_S = 60.0


class Mute(MemoryDriver):
    """A store whose beats fail while `mute`; after `reclaim` the next one says that others took the owner for dead."""

    def __init__(self) -> None:
        super().__init__()
        self.mute = self.reclaim = False
        self.refused = 0
        self.beats, self.beating = 0, threading.Event()
        self.overdue, self.released = threading.Event(), threading.Event()

    def connect(self, namespace: str, owner: Owner, now: int) -> MemoryStore:
        store = super().connect(namespace, owner, now)
        real, release = store.beat, store.release

        def beat(*args: Any, **options: Any) -> HeartbeatReply:
            if self.mute:
                self.refused += 1
                if self.refused == 2:
                    self.overdue.set()
                raise Unavailable("no answer")
            self.beats += 1
            if self.beats == 2:  # the first one is made when the work begins
                self.beating.set()
            reply, self.reclaim = evolve(real(*args, **options), reclaimed=self.reclaim), False
            return reply

        def released(batch: Sequence[Release], now: int) -> list[bool]:
            answers = release(batch, now)
            self.released.set()
            return answers

        store.beat, store.release = beat, released  # type: ignore[method-assign]
        return store


def test_without_a_heartbeat_nothing_is_claimed_and_runs_go_back_after_their_step(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        driver, clock, done = Mute(), ManualClock(), list[str]()
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def first() -> None:
            done.append("first")
            begun.set()
            await go_on.wait()

        flow = named("x").do("first", first).do("second", lambda: done.append("second")).compile()
        async with AsyncEngine(driver, clock=clock) as engine:
            engine.register(flow)
            async with engine.worker():
                run = await engine.start(flow, id="held")
                await begun.wait()
                assert await asyncio.to_thread(driver.beating.wait, WAIT_S)
                driver.mute = True
                clock.leap(OVERDUE_S + 1)
                assert await asyncio.to_thread(driver.overdue.wait, WAIT_S)
                late = await engine.start(flow, id="late")
                go_on.set()
                assert await asyncio.to_thread(driver.released.wait, WAIT_S)
                assert [await one.status() for one in (run, late)] == ["queued", "queued"]
                assert [len(await one.history()) for one in (run, late)] == [2, 1]  # the step's commit was made
                assert done == ["first"]
                driver.mute = False
                await asyncio.gather(run.result(WAIT_S), late.result(WAIT_S))
        assert sorted(done) == ["first", "first", "second", "second"]
        told = [one for one in caplog.messages if "no heartbeat reached the store" in one]
        assert told == ["1 run(s) are released after their present step: no heartbeat reached the store"]

    asyncio.run(test())


def test_an_engine_that_gets_no_thread_for_its_heartbeat_tries_again_and_gives_up_its_runs_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Others would take it for dead."""
    refused, refusing, start = (
        threading.Semaphore(0),
        {"stepflow-heartbeat", "stepflow-changes"},
        threading.Thread.start,
    )

    def refuse(thread: threading.Thread) -> None:
        if thread.name in refusing:
            refused.release()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(session, "QUIET_S", 0.0)

    async def test() -> None:
        driver, clock, begun, go_on = Mute(), ManualClock(), asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            begun.set()
            await go_on.wait()

        flow = named("x").do("first", wait).do("second", lambda: None).compile()
        async with AsyncEngine(driver, clock=clock) as engine:
            engine.register(flow)
            async with engine.worker():
                run = await engine.start(flow)
                await begun.wait()
                for _thread in refusing:
                    assert await asyncio.to_thread(refused.acquire, timeout=WAIT_S)
                with heard("no heartbeat reached the store") as told:
                    clock.leap(OVERDUE_S + 1)
                    assert await asyncio.to_thread(told.wait, WAIT_S)
                go_on.set()
                assert await asyncio.to_thread(driver.released.wait, WAIT_S)
                assert await run.status() == "queued"
                with heard("heartbeat works again") as beats, heard("changes works again") as listens:
                    refusing.clear()
                    for event in (beats, listens):
                        assert await asyncio.to_thread(event.wait, WAIT_S)
                await run.result(WAIT_S)

    asyncio.run(test())


def test_an_engine_that_was_taken_for_dead_drops_what_it_held() -> None:
    async def test() -> None:
        driver, tries, cancelled = Mute(), list[int](), asyncio.Event()

        async def step() -> None:
            tries.append(len(tries))
            if len(tries) == 1:
                driver.reclaim = True
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    cancelled.set()
                    raise

        flow = named("x").do("a", step).compile()
        async with AsyncEngine(driver) as engine:
            engine.register(flow)
            async with engine.worker():
                run = await engine.start(flow)
                await run.result(WAIT_S)
                assert cancelled.is_set()
                assert (await run.info()).crashes == 0
        assert tries == [0, 1]

    asyncio.run(test())


def test_a_store_that_wants_no_beat_for_long_does_not_make_an_idle_engine_overdue() -> None:
    """A worker whose heartbeat is overdue claims nothing."""

    class Waits(threading.Event):
        """Moves the clock instead of waiting."""

        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None
            clock.leap(timeout)
            return self.is_set()

    clock, overdue = ManualClock(), list[bool]()
    store = MemoryDriver().connect("", Owner("me", "host", 1), clock.now())
    real = store.beat

    def beat(*args: Any, **options: Any) -> HeartbeatReply:
        overdue.append(heartbeat.overdue)
        if len(overdue) == 9:
            ended.set()
            heartbeat._stop.set()
        return evolve(real(*args, **options), rest_s=3600.0)

    async def test() -> None:
        nonlocal heartbeat
        heartbeat = Heartbeat(store, clock, Notifier(asyncio.get_running_loop()))
        heartbeat._woken = Waits()
        heartbeat.start(lambda: False)
        assert await asyncio.to_thread(ended.wait, WAIT_S)
        heartbeat.stop()

    heartbeat: Heartbeat
    ended = threading.Event()
    store.beat = beat  # type: ignore[method-assign]
    asyncio.run(test())
    assert overdue == [False] * 9
