"""A watch delivers every revision once and at once, from any process, and survives a store that fails for a while."""

from __future__ import annotations

import asyncio
import threading

import pytest

from stepflow import AsyncEngine, Engine, MemoryDriver, RevMismatch, StateCtx, StepflowError, commit, park
from stepflow.drivers.port.store import Driver, Store
from stepflow.engine.states import watch as watching
from stepflow.errors import Stopping, Unavailable
from stepflow.testing import VirtualClock
from stepflow.testing.conformance.cases.kit import on_loop
from tests.processes.harness import NEVER_S, Nursery

LIMIT_S = 60.0  # far more than anything takes


def committer(driver, number, count):
    """Commits several States at once in an engine of its own; some are shared with the others."""

    async def run():
        async with AsyncEngine(driver) as engine:
            for i in range(count):
                own, shared = StateCtx(f"{number}-{i}", {"n": str(i % 3)}), StateCtx(f"shared-{i % 5}")
                found = await engine.states({"id": shared.id}, since_rev=-1)
                if found.states:
                    shared.reset(found.states[0])
                shared.labels["id"] = shared.id
                try:
                    await engine.do(commit(park(shared), park(own)))
                except RevMismatch:
                    continue

    return threading.Thread(target=lambda: asyncio.run(run()))


@on_loop
async def test_nothing_is_missed_or_repeated_under_eight_threads(store):
    async with AsyncEngine(store) as engine:
        seen, labelled = [], []
        threads = [committer(store, number, 25) for number in range(8)]
        all_states, some = engine.watch(), engine.watch({"n": "1"}, {"id": "shared-3"})
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            if (state := await all_states.next(0.05)) is not None:
                seen.append(state)
            if (state := await some.next(0.001)) is not None:
                labelled.append(state)
        stored = [state async for state in engine.iterate()]
        assert len(stored) > 100
        wanted = [s for s in stored if s.labels.get("n") == "1" or s.labels.get("id") == "shared-3"]
        for watch, found, expected in ((all_states, seen, stored), (some, labelled, wanted)):
            while len(found) < len(expected):
                found.append(await watch.next(LIMIT_S))
            assert found == expected
            assert await watch.next(0.5) is None


def test_nothing_is_missed_or_repeated_under_four_processes(tmp_path):
    nursery = Nursery(tmp_path)
    try:
        with Engine(nursery.url) as engine:
            watch, seen = engine.watch(), []
            for i in range(4):
                nursery.run(f"p{i}", "tests.flows.child", "storms", nursery.url, f"p{i}", "25")
            while len(nursery.log.entries("over")) < 4:
                if (state := watch.next(0.2)) is not None:
                    seen.append(state.rev)
                assert not any(child.ended() and child.wait() for child in nursery.children)
            stored = [state.rev for state in engine.iterate()]
            while len(seen) < len(stored):
                seen.append(watch.next(LIMIT_S).rev)
            assert seen == stored
            assert watch.next(0.5) is None
    finally:
        nursery.close()


@pytest.mark.parametrize("elsewhere", [False, True], ids=["own commits", "commits of another engine"])
@on_loop
async def test_push(store, elsewhere, monkeypatch):
    """A watch that would not look by itself for an hour receives each State."""
    monkeypatch.setattr("stepflow.engine.states.watch.POLL_S", NEVER_S)
    async with AsyncEngine(store) as engine, AsyncEngine(store) as other:
        watch = engine.watch()
        await watch.next(0.01)
        for i in range(9):
            waiting = asyncio.ensure_future(watch.next(LIMIT_S))
            await asyncio.wait([waiting], timeout=0.02)
            await (other if elsewhere else engine).do(commit(park(StateCtx(f"s{i}"))))
            assert (await waiting).id == f"s{i}"


@on_loop
async def test_a_hundred_watchers_get_everything(store):
    async with AsyncEngine(store) as engine:
        watches = [engine.watch(*([{"n": str(i % 2)}] if i % 3 else [])) for i in range(100)]

        async def collect(i):
            return [(await watches[i].next(LIMIT_S)).rev for _ in range(30 if i % 3 else 60)]

        collecting = [asyncio.ensure_future(collect(i)) for i in range(100)]
        for i in range(60):
            await engine.do(commit(park(StateCtx(f"s{i}", {"n": str(i % 2)}))))
        found = await asyncio.gather(*collecting)
    for i, revs in enumerate(found):
        assert revs == [rev for rev in range(1, 61) if not i % 3 or (rev - 1) % 2 == i % 2]


@on_loop
async def test_a_watcher_that_lags_far_behind_reads_the_store(store, monkeypatch):
    monkeypatch.setattr(watching, "KEPT", 20)
    monkeypatch.setattr(watching, "PAGE", 7)
    async with AsyncEngine(store) as engine:
        slow, fast = engine.watch(), engine.watch()
        assert await slow.next(0.01) is None
        for i in range(100):
            await engine.do(commit(park(StateCtx(f"s{i}", {"n": str(i % 2)}))))
            assert (await fast.next(LIMIT_S)).rev == i + 1
        assert [(await slow.next(LIMIT_S)).rev for _ in range(100)] == list(range(1, 101))
        odd = engine.watch({"n": "1"}, since=10)
        assert [(await odd.next(LIMIT_S)).rev for _ in range(45)] == list(range(12, 101, 2))


class Flaky(Driver):
    """A memory store whose reads fail while `broken` is set."""

    url = "memory://"

    def __init__(self) -> None:
        self._driver, self.broken, self.failed = MemoryDriver(), threading.Event(), threading.Event()

    def connect(self, namespace, owner, now) -> Store:
        store = self._driver.connect(namespace, owner, now)
        for name in ("read", "next_due", "wait_for_change"):
            setattr(store, name, self._guarded(getattr(store, name), tells=name != "wait_for_change"))
        return store

    def maintenance(self, namespace):
        return self._driver.maintenance(namespace)

    def _guarded(self, method, tells):
        def call(*args):
            if self.broken.is_set():
                if tells:  # the watch itself met the error, not who only waits for news
                    self.failed.set()
                raise Unavailable("the store is away")
            return method(*args)

        return call


@on_loop
async def test_a_watch_survives_a_store_that_fails(caplog):
    driver = Flaky()
    async with AsyncEngine(driver) as engine, AsyncEngine(driver) as other:
        watch = engine.watch()
        for i in range(3):
            await other.do(commit(park(StateCtx(f"before{i}"))))
        assert [(await watch.next(LIMIT_S)).rev for _ in range(3)] == [1, 2, 3]
        driver.broken.set()
        waiting = asyncio.ensure_future(watch.next(LIMIT_S))
        for i in range(3):
            await other.do(commit(park(StateCtx(f"meanwhile{i}"))))
        assert await asyncio.to_thread(driver.failed.wait, LIMIT_S)
        driver.broken.clear()
        assert (await waiting).rev == 4
        assert [(await watch.next(LIMIT_S)).rev for _ in range(2)] == [5, 6]
    assert "feed failed (1 in a row), next try in 0.1 s: the store is away" in caplog.text


def test_a_sync_watch_ends_with_its_engine(store):
    with Engine(store) as engine:
        engine.do(commit(park(StateCtx("s"))))
        watch, ended = engine.watch(), []
        assert next(watch).id == "s"
        assert watch.next(0.01) is None

        def wait():
            try:
                next(watch)
            except StepflowError as error:
                ended.append(type(error))

        thread = threading.Thread(target=wait)
        thread.start()
    thread.join(LIMIT_S)
    assert not thread.is_alive()
    assert ended in ([Stopping], [StepflowError])
    with pytest.raises(StepflowError, match="engine is closed"):
        next(watch)


def test_a_sync_watch_may_be_left_at_any_time(store):
    with Engine(store) as engine:
        engine.do(commit(park(StateCtx("s"))))
        for state in engine.watch():
            assert state.id == "s"
            break


def test_what_a_dead_process_committed_is_taken_over_once_its_lock_is_free(tmp_path):
    nursery = Nursery(tmp_path)
    try:
        nursery.run("worker", "tests.flows.child", "works", nursery.url, "worker", "0")
        nursery.log.wait(what="ready")
        nursery.run("client", "tests.flows.child", "commits_and_dies", nursery.url, "c", "5")
        steps = nursery.log.wait(5, what="step")
        assert sorted(step.run for step in steps) == [f"c-{i}" for i in range(5)]
    finally:
        nursery.close()


@on_loop
async def test_the_feed_keeps_a_bounded_number_of_bytes_and_a_watcher_still_gets_everything(monkeypatch):
    monkeypatch.setattr(watching, "KEPT_BYTES", 40_000)
    async with AsyncEngine("memory://") as engine:
        first, feed = engine.watch(), engine._session.feed
        for i in range(30):
            await engine.do(commit(park(StateCtx(f"s{i}", {}, {"note": "x" * 5_000}))))
            assert (await first.next(LIMIT_S)).id == f"s{i}"
            assert feed._bytes == sum(map(watching._bytes_of, feed._states)) <= 40_000
        assert len(feed._states) < 10
        late = engine.watch(since=0)
        assert [(await late.next(LIMIT_S)).id for _ in range(30)] == [f"s{i}" for i in range(30)]


@pytest.mark.parametrize("virtual", [False, True])
def test_a_timeout_of_0_takes_what_is_in_the_store_now(store, virtual):
    with Engine(store, clock=VirtualClock() if virtual else None) as engine, Engine(store) as other:
        engine.do(commit(park(StateCtx("a"))), commit(park(StateCtx("b"))))
        watch, labelled = engine.watch(), engine.watch({"n": "1"})
        newest = engine.watch(since="latest")
        assert [taken(watch) for _ in range(3)] == ["a", "b", None]
        assert [taken(newest), taken(newest), taken(labelled)] == ["b", None, None]
        for one in (engine, other):
            one.do(commit(park(StateCtx("c", {"n": "1"}))) if one is engine else commit(park(StateCtx("d"))))
            assert taken(watch) == ("c" if one is engine else "d")
        assert [taken(watch), taken(labelled), taken(labelled)] == [None, "c", None]


def taken(watch) -> str | None:
    state = watch.next(timeout=0)
    return None if state is None else state.id


@on_loop
async def test_looks_side_by_side_take_each_revision_once(store):
    """Watchers that look at once, beside one that waits, get each State once."""
    async with AsyncEngine(store) as engine:
        waiting, watches = engine.watch(), [engine.watch() for _ in range(4)]
        for i in range(30):
            task = asyncio.ensure_future(waiting.next(LIMIT_S))
            await engine.do(commit(park(StateCtx(f"s{i}"))))
            found = await asyncio.gather(*[watch.next(0) for watch in watches])
            assert [state and state.rev for state in found] == [i + 1] * 4
            state = await task
            assert state is not None
            assert state.rev == i + 1
        assert [await watch.next(0) for watch in (waiting, *watches)] == [None] * 5


@on_loop
async def test_a_timeout_of_0_gives_nothing_while_the_store_cannot_be_read(store, monkeypatch, caplog):
    async with AsyncEngine(store) as engine:
        await engine.do(commit(park(StateCtx("a"))))
        watch = engine.watch()

        def fails(*_given: object) -> None:
            raise Unavailable("the disk is gone")

        with monkeypatch.context() as patched:
            patched.setattr("stepflow.engine.states.watch.RevisionFeed._news", fails)
            assert await watch.next(0) is None
        assert "the disk is gone" in caplog.text
        state = await watch.next(0)
        assert state is not None
        assert state.id == "a"
    with pytest.raises(Stopping):
        await watch.next(0)
