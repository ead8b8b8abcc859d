"""Background threads and tasks survive whatever happens inside them, back off, and tell of it in `health()`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pytest

from stepflow import (
    AsyncEngine,
    Engine,
    MemoryDriver,
    StateCtx,
    StepflowError,
    Unavailable,
    commit,
    named,
    transit,
)
from stepflow.drivers.memory.session import Memory, MemoryStore
from stepflow.drivers.port.commit import HeartbeatReply, Owner
from stepflow.engine.client import waiters
from stepflow.engine.clock import SystemClock
from stepflow.engine.lifetime import Lifetime
from stepflow.engine.membership import heartbeat as heartbeats
from stepflow.engine.membership.change_listener import ChangeListener
from stepflow.engine.membership.heartbeat import Heartbeat
from stepflow.engine.membership.notifier import Notifier
from stepflow.engine.states.watch import RevisionFeed
from stepflow.engine.store_reader import StoreReader
from stepflow.engine.threads.thread_pool import ThreadPool
from stepflow.engine.worker import retention
from stepflow.engine.worker.retention import Pruner
from stepflow.model.recovery import ENABLED
from tests.engine.flows import Order, chain
from tests.engine.heard import heard

WAIT_S = 60.0


def store_of_me() -> MemoryStore:
    return MemoryStore(Memory(), "", Owner("me", "host", 1))


def test_the_heartbeat_survives_any_surprise(monkeypatch):
    monkeypatch.setattr(heartbeats, "LOOK_S", 0.001)

    async def test() -> Heartbeat:
        store = Stumbling(2)
        heartbeat = Heartbeat(store, SystemClock(), Notifier(asyncio.get_running_loop()))
        heartbeat.start(lambda: False)
        assert await asyncio.to_thread(store.sound.wait, WAIT_S)
        await asyncio.to_thread(heartbeat.stop)
        return heartbeat

    heartbeat = asyncio.run(test())
    assert heartbeat.guard.health.failures == 2
    assert heartbeat.guard.health.last_error == "RuntimeError: dictionary changed size during iteration"


def test_the_change_listener_survives_any_surprise():
    async def test() -> None:
        heard_of = asyncio.Event()
        listener = ChangeListener(Stumbling(1), asyncio.get_running_loop())
        listener.needs(lambda: True)
        listener.start(heard_of.set)
        await asyncio.wait_for(heard_of.wait(), WAIT_S)
        listener.stop()
        await asyncio.to_thread(listener.join)
        assert listener.guard.health.failures == 1

    asyncio.run(test())


def test_the_change_listener_asks_the_store_only_while_a_part_needs_it():
    async def test() -> None:
        heard_of, store = asyncio.Event(), Stumbling(0)
        asked: SimpleQueue[bool] = SimpleQueue()
        answers = iter([False, False, True, True])

        def need() -> bool:
            asked.put(store.sound.is_set())
            return next(answers, False)

        listener = ChangeListener(store, asyncio.get_running_loop())
        listener.needs(need)
        for _ in range(2):
            listener.start(heard_of.set)
            assert not await asyncio.to_thread(asked.get, timeout=WAIT_S)
        assert not store.sound.is_set()
        listener.start(heard_of.set)
        await asyncio.wait_for(heard_of.wait(), WAIT_S)
        listener.stop()
        await asyncio.to_thread(listener.join)

    asyncio.run(test())


class Stumbling(MemoryStore):
    """Its first beats and waits for a change fail; the wait after those finds a change."""

    def __init__(self, failures: int) -> None:
        super().__init__(Memory(), "", Owner("me", "host", 1))
        self.left, self.sound = failures, threading.Event()

    def _stumble(self) -> None:
        if self.left:
            self.left -= 1
            raise RuntimeError("dictionary changed size during iteration")

    def beat(self, *args: Any, **options: Any) -> HeartbeatReply:
        self._stumble()
        self.sound.set()
        return super().beat(*args, **options)

    def wait_for_change(self, token: int, timeout_s: float) -> int:
        self._stumble()
        if not self.sound.is_set():
            self.sound.set()
            return 1
        return super().wait_for_change(token, timeout_s)


def test_a_damaged_row_does_not_make_the_feed_read_without_a_pause():
    async def test() -> None:
        reads, clock, lifetime = [], SystemClock(), Lifetime()
        lifetime.opened()

        class DamagedReader(StoreReader):
            async def call(self, fn: Callable[..., Any], *args: Any) -> Any:
                reads.append(1)
                raise ValueError("a row that cannot be read")

        reader, notifier = (
            DamagedReader(store_of_me(), clock, lifetime, ThreadPool(asyncio.get_running_loop(), "x")),
            Notifier(asyncio.get_running_loop()),
        )
        feed = RevisionFeed(store_of_me(), clock, reader, notifier)

        async def watch() -> None:
            while not feed.closed:
                await feed.wait()

        watching = asyncio.create_task(watch())
        for _turn in range(1000):
            await asyncio.sleep(0)
        assert 1 <= len(reads) < 20
        assert feed.guard.health.last_error == "ValueError: a row that cannot be read"
        await feed.close()
        await watching

    asyncio.run(test())


def test_pruning_survives_any_surprise(monkeypatch):
    monkeypatch.setattr(retention, "EVERY_S", 0.001)

    async def test() -> None:
        calls, third = 0, asyncio.Event()

        def maintenance(_namespace: str) -> Any:
            nonlocal calls
            calls += 1
            if calls < 3:
                raise ValueError("a row that cannot be read")
            third.set()
            return MemoryDriver().maintenance("")

        pruner = Pruner(maintenance, "", SystemClock(), retention.timedelta(days=1))
        task = asyncio.create_task(pruner.run())
        await asyncio.wait_for(third.wait(), WAIT_S)
        task.cancel()
        assert pruner.guard.health.failures == 2

    asyncio.run(test())


class Damaged(MemoryDriver):
    """A store whose claims fail in an unexpected way until `sound` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.sound, self.met = threading.Event(), threading.Event()

    def connect(self, namespace: str, owner: Owner, now: int) -> Any:
        store = super().connect(namespace, owner, now)
        claim, claim_if_free = store.claim, store.claim_if_free

        def checked(method: Callable[..., Any], *args: Any, **options: Any) -> Any:
            if not self.sound.is_set():
                self.met.set()
                raise ValueError("a row that cannot be read")
            return method(*args, **options)

        store.claim = lambda *args, **options: checked(claim, *args, **options)  # type: ignore[method-assign]
        store.claim_if_free = lambda *args, **options: checked(claim_if_free, *args, **options)  # type: ignore[method-assign]
        return store


def test_a_worker_survives_any_surprise_and_health_tells():
    driver, flow = Damaged(), chain("x", "a")
    with Engine(driver) as engine:
        assert engine.health().ok
        engine.register(flow)
        with heard("works again") as again, engine.worker():
            run = engine.start(flow, Order())
            assert driver.met.wait(WAIT_S)
            driver.sound.set()
            assert run.result(WAIT_S)
            assert again.wait(WAIT_S)
        health = {task.name: task for task in engine.health().tasks}
        assert list(health) == [
            "heartbeat",
            "changes",
            "writer",
            "steps",
            "worker",
            "waits",
            "feed",
            "waiters",
            "leases",
            "pruning",
        ]
        assert health["worker"].failures >= 1
        assert health["worker"].last_error == "ValueError: a row that cannot be read"
        assert engine.health().ok
    with pytest.raises(StepflowError, match="engine is closed"):
        engine.health()


class Refusing(MemoryDriver):
    """A store whose first release fails in an unexpected way; with `always` all of them, by a StoreError."""

    def __init__(self, always: bool = False) -> None:
        super().__init__()
        self.always, self.met, self.stores = always, threading.Event(), []

    def connect(self, namespace: str, owner: Owner, now: int) -> Any:
        store = super().connect(namespace, owner, now)
        release = store.release

        def refuse(*args: Any) -> Any:
            if self.always:
                raise Unavailable("the store is away")
            if not self.met.is_set():
                self.met.set()
                raise ValueError("a row that cannot be read")
            return release(*args)

        store.release = refuse  # type: ignore[method-assign]
        self.stores.append(store)
        return store


def test_a_claim_whose_release_failed_unexpectedly_is_released_later():
    driver = Refusing()
    flow = named("x", Order).wait_event("paid", "paid", str, lambda order, text: order.log.append(text)).compile()
    with Engine(driver) as engine, engine.worker():
        engine.register(flow)
        run = engine.start(flow, Order())
        assert driver.met.wait(WAIT_S)
        run.publish("paid", "now")
        assert run.result(WAIT_S).log == ["now"]
        assert {task.name: task.failures for task in engine.health().tasks}["worker"] == 1


def test_an_engine_whose_store_refuses_the_last_releases_ends_its_threads_and_its_session_all_the_same():
    driver, before = Refusing(always=True), set(threading.enumerate())

    exclusive = StateCtx("s", annotations={ENABLED: "false"})  # its kept lease is released at the end
    engine = Engine(driver)
    with pytest.raises(Unavailable), engine:
        engine.do(commit(transit(exclusive, "somewhere")))
    (store,) = driver.stores
    assert store._closed
    assert not set(threading.enumerate()) - before


def test_health_of_an_async_engine_needs_no_loop():
    async def test() -> None:
        async with AsyncEngine("memory://") as engine:
            assert engine.health().ok
            assert (await asyncio.to_thread(engine.health)).ok

    asyncio.run(test())


def test_a_result_is_found_although_its_notice_was_lost(monkeypatch):
    monkeypatch.setattr(waiters, "POLL_S", 0.01)
    monkeypatch.setattr(Notifier, "run_changed", lambda _self, _run_id: None)  # every notice is lost
    flow = chain("x", "a")
    with Engine("memory://") as engine, engine.worker():
        engine.register(flow)
        run = engine.start(flow, Order())
        assert run.result(WAIT_S).log == ["a"]
