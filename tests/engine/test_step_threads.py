"""The threads of steps: one does all that is quick, and what blocks keeps nothing else waiting."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepflow.drivers.port.background import Guard, join
from stepflow.engine.threads import thread_pool
from stepflow.engine.threads.thread_pool import ThreadPool

WAIT_S = 60.0


@pytest.fixture(params=[1e-6, 5e-4, 5e-3], ids="interval={}".format)
def switches(request: pytest.FixtureRequest) -> Iterator[None]:
    """How often threads take turns."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(request.param)
    yield
    sys.setswitchinterval(before)


def in_pool(test: Callable[[ThreadPool], None], *, steps: bool = True, most: int | None = None) -> None:
    """Run a test in a thread beside an event loop that has a pool."""

    async def work() -> None:
        pool = ThreadPool(asyncio.get_running_loop(), "x", steps=steps, most=most)
        try:
            await asyncio.to_thread(test, pool)
        finally:
            pool.close()

    asyncio.run(work())


class Works:
    """Marked works in a row: each makes some quick calls, and then waits in one until the next work has made all of its own."""

    def __init__(self, pool: ThreadPool, quick_calls: list[int]) -> None:
        self._pool, self._quick_calls = pool, quick_calls
        self._done = [threading.Event() for _ in quick_calls]
        self.failed: list[int] = []

    def push(self) -> None:
        for number in range(len(self._quick_calls)):
            self._pool.push_marked(partial(self._work, number))

    def wait(self) -> None:
        for done in self._done:
            assert done.wait(WAIT_S)

    def _work(self, number: int) -> None:
        for _ in range(self._quick_calls[number]):
            self._call(lambda: True)
        if number + 1 < len(self._done) and not self._call(partial(self._done[number + 1].wait, WAIT_S)):
            self.failed.append(number)
        self._done[number].set()

    def _call(self, fn: Callable[[], bool]) -> bool:
        self._pool.begin_blocking()
        try:
            return fn()
        finally:
            self._pool.end_blocking()


@pytest.mark.usefixtures("switches")
@settings(max_examples=20)
@given(st.lists(st.sampled_from([0, 1, 7, 300]), min_size=2, max_size=12))
def test_a_work_that_blocks_behind_quick_calls_keeps_none_waiting(quick_calls: list[int]):
    def test(pool: ThreadPool) -> None:
        works = Works(pool, quick_calls)
        works.push()
        works.wait()
        assert works.failed == []

    in_pool(test)


def test_works_that_leave_others_ready_run_at_the_same_time():
    together = threading.Barrier(16)

    def test(pool: ThreadPool) -> None:
        def call() -> None:
            pool.begin_blocking()
            together.wait(WAIT_S)
            pool.end_blocking()
            met.append(1)
            if len(met) == 16:
                done.set()

        met: list[int] = []
        done = threading.Event()
        for _ in range(16):
            pool.push_marked(call)
        assert done.wait(WAIT_S)

    in_pool(test)


def test_a_work_that_does_not_mark_what_blocks_keeps_none_waiting():
    done = threading.Event()

    def test(pool: ThreadPool) -> None:
        pool.push_to_threads(lambda: (done.wait(WAIT_S), None)[1])
        pool.push_to_threads(done.set)
        assert done.wait(WAIT_S)

    in_pool(test)


def test_a_pool_is_busy_until_its_threads_park():
    def test(pool: ThreadPool) -> None:
        go_on, rests = threading.Event(), threading.Event()
        pool.push_to_threads(lambda: (go_on.wait(WAIT_S), None)[1])
        assert pool.busy
        go_on.set()
        for _ in range(int(WAIT_S * 1000)):
            if not pool.busy:
                return
            rests.wait(0.001)
        raise AssertionError("the thread did not park")

    in_pool(test)


def test_no_thread_parks_once_its_pool_is_closed(monkeypatch: pytest.MonkeyPatch):
    """One that looks for work while another runs ends: nothing would wake it, and `close` waits for all of them."""
    closing, blocked, held = threading.Event(), threading.Event(), threading.Event()
    go_on, release = threading.Event(), threading.Event()
    done: list[int] = []
    blocking: list[threading.Thread] = []

    def join_soon(thread: threading.Thread) -> bool:
        closing.set()
        return join(thread)

    def block() -> None:
        blocking.append(threading.current_thread())
        blocked.set()
        go_on.wait(WAIT_S)

    def hold() -> None:  # it runs all the time, as it marks nothing
        held.set()
        release.wait(WAIT_S)

    def test(pool: ThreadPool) -> None:
        pool.push_to_threads(block)
        assert blocked.wait(WAIT_S)
        pool.push_marked(hold)
        assert held.wait(WAIT_S)
        pool.push_marked(partial(done.append, 0))
        closer = threading.Thread(target=pool.close)
        closer.start()
        assert closing.wait(WAIT_S)
        go_on.set()
        blocking[0].join(5.0)
        parks = blocking[0].is_alive()
        release.set()
        closer.join(WAIT_S)
        assert (parks, done) == (False, [0])

    monkeypatch.setattr(thread_pool, "join", join_soon)
    in_pool(test, steps=False)


class Wanted:
    """The lock of a pool, which tells that a thread wants it."""

    def __init__(self) -> None:
        self._lock, self.wanted = threading.Lock(), threading.Event()

    def __enter__(self) -> None:
        self.wanted.set()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Parking(list[Any]):
    """The parked threads of a pool; the first one parks when `before` returns."""

    def __init__(self, before: Callable[[], None]) -> None:
        super().__init__()
        self._before: Callable[[], None] | None = before

    def append(self, parked: Any) -> None:
        before, self._before = self._before, None
        if before is not None:
            before()
        super().append(parked)


def test_a_work_that_begins_to_block_while_a_thread_parks_keeps_none_waiting(monkeypatch: pytest.MonkeyPatch):
    """That thread saw the work running; the work must not take it for one that comes."""

    def test(pool: ThreadPool) -> None:
        lock, parks, done = Wanted(), threading.Event(), threading.Event()

        def block_now() -> None:
            lock.wanted.clear()
            parks.set()
            assert lock.wanted.wait(WAIT_S)

        def work() -> None:
            pool.push_marked(done.set)
            with lock:
                pool._wake()  # as a work that begins to block beside this one
            assert parks.wait(WAIT_S)
            pool.begin_blocking()
            lock.wanted.set()  # if it did not wake a thread, for which it needs the lock
            kept.append(not done.wait(WAIT_S))
            pool.end_blocking()
            ended.set()

        kept: list[bool] = []
        ended = threading.Event()
        monkeypatch.setattr(pool, "_lock", lock)
        monkeypatch.setattr(pool, "_idle", Parking(block_now))
        pool.push_marked(work)
        assert ended.wait(2 * WAIT_S)
        assert kept == [False]

    in_pool(test)


def test_a_log_handler_that_raises_ends_no_thread(monkeypatch: pytest.MonkeyPatch):
    def refuse(_guard: Guard, _error: BaseException) -> None:
        raise OSError("the log is full")

    def test(pool: ThreadPool) -> None:
        done = threading.Event()
        pool.push_marked(lambda: print(1 // 0))
        pool.push_marked(done.set)
        assert done.wait(WAIT_S)

    monkeypatch.setattr(Guard, "note", refuse)
    in_pool(test)
