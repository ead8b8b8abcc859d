"""The pools and the writer thread go on after a thread could not be started and after callbacks that raise; readers are limited."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from stepflow import AsyncEngine, Engine, MemoryDriver, StepflowError, StoreError, named
from stepflow.drivers.memory.session import MemoryStore
from stepflow.engine import session
from stepflow.engine.commit.committer import Committer
from stepflow.engine.commit.pending import CalledBack
from stepflow.engine.threads.thread_pool import ThreadPool
from tests.engine.committers import WatchedStore, create, held_up, submit, with_committer
from tests.engine.heard import heard

WAIT_S = 60.0


def refused(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on the system refuses new threads, until the result is called."""
    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", refused)
    return lambda: monkeypatch.setattr(threading.Thread, "start", start)


def test_steps_go_on_after_a_thread_could_not_be_started(no_threads):
    async def test() -> None:
        pool = ThreadPool(asyncio.get_running_loop(), "x")
        done = [pool.submit(int, n) for n in range(3)]
        assert pool.guard.health.failing == 1
        no_threads()
        assert await asyncio.wait_for(asyncio.gather(*done), WAIT_S) == [0, 1, 2]
        assert (pool.guard.health.failures, pool.guard.health.failing) == (1, 0)
        pool.close()

    asyncio.run(test())


def test_threads_that_run_take_the_work_of_one_that_could_not_be_started(no_threads):
    async def test() -> None:
        no_threads_yet, begun, go_on = no_threads, threading.Event(), threading.Event()
        no_threads_yet()
        pool = ThreadPool(asyncio.get_running_loop(), "x")
        first = pool.submit(lambda: (begun.set(), go_on.wait(WAIT_S)))
        await asyncio.to_thread(begun.wait, WAIT_S)
        pool._retrying = True  # a start failed, and no other one is tried for now
        second = pool.submit(int, 2)
        go_on.set()
        assert await asyncio.wait_for(second, WAIT_S) == 2
        await first
        pool.close()

    asyncio.run(test())


NO_THREAD = (
    r"the system starts no thread for .* \(can't start new thread\): raise its limit of threads \(ulimit -u, pids"
)


def test_a_caller_that_needs_the_loop_beside_another_one_is_told_that_no_thread_can_be_started(monkeypatch):
    """The refused call is not made, the other one goes on, and the same call succeeds when threads can be started again."""
    flow = named("f").do("a", lambda: None).compile()
    with Engine(MemoryDriver()) as engine:
        engine.register(flow)
        run = engine.start(flow, id="first")

        async def calls_twice() -> None:  # beside a loop that runs, so that the engine's needs a thread
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", refused)
                for call in (run.result, lambda: engine.start(flow, id="second")):
                    with pytest.raises(StepflowError, match=NO_THREAD):
                        call()
            assert [one.id for one in engine.runs()] == ["first"]

        asyncio.run(calls_twice())
        assert engine.run_until_idle().completed == 1
        assert run.result() is None


def test_an_engine_is_closed_beside_a_running_loop_though_no_thread_can_be_started(monkeypatch):
    async def test() -> None:
        engine = Engine(MemoryDriver())
        engine.__enter__()
        loop = engine._loop_thread._loop
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refused)
            engine._loop_thread.close()
        assert loop.is_closed()
        assert asyncio.get_running_loop().is_running()
        await asyncio.sleep(0)  # which goes on

    asyncio.run(test())


def test_a_pruning_for_which_no_thread_can_be_started_says_so(monkeypatch):
    async def test() -> None:
        async with AsyncEngine(MemoryDriver()) as engine:
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", refused)
                with pytest.raises(StepflowError, match=NO_THREAD):
                    await engine.prune(timedelta(days=1))
            assert await engine.prune(timedelta(days=1)) == 0

    asyncio.run(test())


def threads_of(name: str) -> set[str]:
    """The names of the live threads of a pool."""
    return {thread.name for thread in threading.enumerate() if thread.name.startswith(f"{name}-")}


def test_a_pool_with_a_limit_starts_no_thread_more_and_does_all_work():
    async def test() -> None:
        pool = ThreadPool(asyncio.get_running_loop(), "limited", most=2)
        both, go_on = threading.Semaphore(0), threading.Event()

        def work(n: int) -> int:
            both.release()
            go_on.wait(WAIT_S)
            return n

        done = [pool.submit(work, n) for n in range(5)]
        for _thread in range(2):
            assert await asyncio.to_thread(both.acquire, timeout=WAIT_S)
        assert threads_of("limited") == {
            "limited-1",
            "limited-2",
        }  # a third one would have been started before the second began
        go_on.set()
        assert await asyncio.wait_for(asyncio.gather(*done), WAIT_S) == [0, 1, 2, 3, 4]
        assert threads_of("limited") == {"limited-1", "limited-2"}
        assert await asyncio.wait_for(pool.submit(int, 5), WAIT_S) == 5  # by a thread that was idle
        pool.close()

    asyncio.run(test())


def test_many_reads_at_once_share_a_limited_number_of_threads(monkeypatch):
    monkeypatch.setattr(session, "READERS", 3)
    begun, go_on, read = threading.Semaphore(0), threading.Event(), MemoryStore.read

    def slow(self: MemoryStore, query: Any) -> Any:
        begun.release()
        go_on.wait(WAIT_S)
        return read(self, query)

    async def test() -> None:
        async with AsyncEngine(MemoryDriver()) as engine:
            run = await engine.start(named("f").do("a", lambda: None).compile())
            monkeypatch.setattr(MemoryStore, "read", slow)
            found = [asyncio.create_task(run.history()) for _task in range(20)]
            for _thread in range(3):
                assert await asyncio.to_thread(begun.acquire, timeout=WAIT_S)
            assert len(threads_of("stepflow-reader")) == 3
            go_on.set()
            assert {len(entries) for entries in await asyncio.wait_for(asyncio.gather(*found), WAIT_S)} == {1}

    asyncio.run(test())


def test_work_that_raises_does_not_end_its_thread():
    async def test() -> None:
        pool = ThreadPool(asyncio.get_running_loop(), "x")
        with heard("x failed and goes on") as told:
            pool.push(lambda: 1 // 0)
            assert await asyncio.to_thread(told.wait, WAIT_S)
        assert await asyncio.wait_for(pool.submit(int, 3), WAIT_S) == 3
        assert pool.guard.health.failures == 1
        pool.close()

    asyncio.run(test())


def test_a_callback_that_raises_does_not_end_the_writer():
    async def test(store: WatchedStore, committer: Committer) -> None:
        posted_results: list[Any] = []

        def failing(_result: Any) -> None:
            raise SystemExit("can't start new thread")

        first = await held_up(store, committer)
        committer.submit_threadsafe(create("a"), failing)
        committer.submit_threadsafe(create("b"), posted_results.append)
        store.go_on.set()
        await first
        assert await asyncio.wait_for(submit(committer, create("c")), WAIT_S)
        assert [committed.revs for committed in posted_results] == [(3,)]
        assert committer.guards[0].health.last_error == "SystemExit: can't start new thread"

    with_committer(test)


@pytest.mark.parametrize("free", [False, True])
def test_an_answer_that_is_missing_is_an_error_for_every_waiter(free: bool):
    async def test(store: WatchedStore, committer: Committer) -> None:
        store.free, store.short = free, True
        answers = await asyncio.wait_for(committer.submit_all([create("a"), create("b")]), WAIT_S)
        assert [type(answer) for answer in answers] == [StoreError] * 2
        store.short = False
        assert await asyncio.wait_for(submit(committer, create("c")), WAIT_S)

    with_committer(test)


def test_whatever_is_submitted_while_the_writer_ends_is_answered():
    async def test(store: WatchedStore, committer: Committer) -> None:
        answers: list[Any] = []
        ready, ended = threading.Barrier(3), threading.Event()
        counts = [0, 0]

        def send(me: int) -> None:
            ready.wait()
            late = 0
            while late < 100:  # some come after the writer has ended
                committer.submit_threadsafe(create(f"{me}-{counts[me]}"), answers.append)
                counts[me] += 1
                late += ended.is_set()

        threads = [threading.Thread(target=send, args=(me,)) for me in range(2)]
        for thread in threads:
            thread.start()
        ready.wait()
        await asyncio.to_thread(committer.close)
        ended.set()
        for thread in threads:
            await asyncio.to_thread(thread.join, WAIT_S)
        assert len(answers) == sum(counts)
        refused = [answer for answer in answers if isinstance(answer, StepflowError)]
        assert len(refused) >= 200
        assert all("closed meanwhile" in str(answer) for answer in refused)

    with_committer(test)


def test_what_a_thread_posts_after_the_writer_has_ended_is_answered():
    async def test(_store: WatchedStore, committer: Committer) -> None:
        answers: list[Any] = []
        await asyncio.to_thread(committer.close)
        committer.post(CalledBack(create("late"), answers.append))
        assert ["closed meanwhile" in str(answer) for answer in answers] == [True]

    with_committer(test)
