"""What the work of a pool leaves to be done is done: by its thread when it is free, else by another one. So steps commit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from stepflow import AsyncEngine, MemoryDriver, named
from stepflow.engine.commit.committer import Committer
from stepflow.engine.commit.group import GroupCommitter
from stepflow.engine.commit.inbox import MAX_BATCH, MORE, Inbox
from stepflow.engine.commit.pending import CalledBack
from stepflow.engine.threads.last_work import MayBlock
from stepflow.engine.threads.thread_pool import ThreadPool
from tests.engine.committers import WatchedStore, create, held_up, with_committer

WAIT_S = 60.0


class Noted:
    """Last work that notes which threads did it."""

    def __init__(self) -> None:
        self.waits, self.by, self.handed_over = False, [], 0
        self.done = threading.Event()

    def do(self, thread: MayBlock) -> None:
        self.waits = False
        self.by.append(threading.current_thread().name)
        self.done.set()

    def hand_over(self) -> None:
        if self.waits:
            self.handed_over += 1
            self.done.set()

    def leave(self) -> None:
        """As work does that has something to be written."""
        self.waits = True


def in_pool(test: Callable[[ThreadPool, Noted], None]) -> None:
    """Run a test in a thread beside an event loop that has a pool."""

    async def work() -> None:
        last = Noted()
        pool = ThreadPool(asyncio.get_running_loop(), "x", steps=True, last=last)
        try:
            await asyncio.to_thread(test, pool, last)
        finally:
            pool.close()

    asyncio.run(work())


def test_a_thread_does_last_what_its_work_left():
    def test(pool: ThreadPool, last: Noted) -> None:
        pool.push_to_threads(last.leave)
        assert last.done.wait(WAIT_S)
        assert (last.by, last.handed_over) == (["x-1"], 0)

    in_pool(test)


def test_another_thread_does_it_while_the_next_work_does_not_end():
    def test(pool: ThreadPool, last: Noted) -> None:
        go_on, begun = threading.Event(), threading.Event()

        def leave() -> None:
            begun.wait(WAIT_S)  # until the second work is ready, too
            last.leave()

        pool.push_to_threads(leave)
        pool.push_to_threads(lambda: (go_on.wait(WAIT_S), None)[1])
        begun.set()
        try:
            assert last.done.wait(WAIT_S)
            assert last.handed_over == 0
        finally:
            go_on.set()

    in_pool(test)


def test_it_is_handed_over_if_no_other_thread_can_be_started(monkeypatch: pytest.MonkeyPatch):
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def test(pool: ThreadPool, last: Noted) -> None:
        go_on, ready = threading.Event(), threading.Event()

        def leave() -> None:
            ready.wait(WAIT_S)
            last.leave()

        pool.push_to_threads(leave)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            pool.push_to_threads(lambda: (go_on.wait(WAIT_S), None)[1])
            ready.set()
            try:
                assert last.done.wait(WAIT_S)
                assert last.handed_over
            finally:
                go_on.set()

    in_pool(test)


def test_it_is_handed_over_if_the_pool_was_closed_meanwhile():
    def test(pool: ThreadPool, last: Noted) -> None:
        begun, go_on = threading.Event(), threading.Event()

        def leave() -> None:
            begun.set()
            go_on.wait(WAIT_S)
            last.leave()

        pool.push_to_threads(leave)
        assert begun.wait(WAIT_S)
        pool.close()
        go_on.set()
        assert last.done.wait(WAIT_S)
        assert (last.by, last.handed_over) == ([], 1)

    in_pool(test)


def test_what_is_posted_while_another_thread_writes_is_written_after_it():
    async def test(store: WatchedStore, committer: Committer) -> None:
        done = threading.Event()

        def post() -> None:
            committer.post(CalledBack(create("posted"), lambda _result: done.set()))
            group(committer).hand_over()  # which waits for nothing

        first = await held_up(store, committer)
        await asyncio.to_thread(post)
        store.go_on.set()
        await first
        assert await asyncio.to_thread(done.wait, WAIT_S)

    assert [len(batch) for batch in with_committer(test).batches] == [1, 1]


def test_what_is_posted_after_the_end_is_refused():
    async def test(_store: WatchedStore, committer: Committer) -> None:
        await asyncio.to_thread(committer.close)
        answers: list[object] = []
        committer.post(CalledBack(create("late"), answers.append))
        assert "closed" in str(answers[0])

    with_committer(test)


def test_what_is_sent_is_written_beside_as_many_steps_as_a_batch_takes():
    """Thousands of quick steps would keep claims, starts and cancels waiting until their runs end."""
    inbox = Inbox()
    inbox.posted.extend(CalledBack(create(f"posted-{number}"), lambda _result: None) for number in range(2 * MAX_BATCH))
    sent = CalledBack(create("sent"), lambda _result: None)
    inbox.sent.extend([sent, None])
    batch, after = inbox.gather([])
    assert (len(batch), batch[-1], after) == (MAX_BATCH + 1, sent, MORE)
    batch, after = inbox.gather([])
    assert (len(batch), after) == (MAX_BATCH, None)


def group(committer: Committer) -> GroupCommitter:
    assert isinstance(committer, GroupCommitter)
    return committer


async def steps_done(engine: AsyncEngine, started: dict[str, int], runs: int) -> None:
    """Return once so many of the runs, which were started with these revisions, have made a step durable."""
    moved = set[str]()
    async for state in engine.watch(since=0):
        if state.rev != started.get(state.id):
            moved.add(state.id)
        if len(moved) == runs:
            return


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_step_is_durable_while_the_next_one_does_not_end(concurrency: int):
    go_on = threading.Event()
    flow = named("two").do("first", lambda: None).do("second", lambda: (go_on.wait(WAIT_S), None)[1]).compile()

    async def test() -> None:
        async with AsyncEngine(MemoryDriver(), concurrency=concurrency) as engine:
            engine.register(flow)
            runs = [await engine.start(flow, id=f"run-{n}") for n in range(2)]
            started = {run.id: (await run.info()).rev for run in runs}
            work = asyncio.create_task(engine.run_until_idle())
            try:
                async with asyncio.timeout(WAIT_S):
                    await steps_done(engine, started, concurrency)
            finally:
                go_on.set()
                await work
            assert [(await run.info()).status for run in runs] == ["completed"] * 2

    asyncio.run(test())
