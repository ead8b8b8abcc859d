"""The committer over a store that is free and quick: it commits on the event loop itself."""

from __future__ import annotations

import asyncio
import threading

import pytest

from stepflow import NotFound
from stepflow.engine.clock import SystemClock
from stepflow.engine.commit.committer import Committer
from stepflow.engine.commit.group import GroupCommitter
from stepflow.engine.membership.notifier import Notifier
from tests.engine.committers import WatchedStore, create, held_up, publish, submit, with_committer

HERE, WRITER = threading.main_thread().name, "stepflow-writer-1"


def test_a_store_that_is_free_and_quick_commits_on_the_loop():
    async def test(store: WatchedStore, committer: Committer) -> None:
        store.free = True
        answers = await asyncio.gather(
            *(submit(committer, create(f"run-{n}")) for n in range(200)),
            submit(committer, publish("nobody", "1")),
            return_exceptions=True,
        )
        assert answers[:200] == [(n,) for n in range(1, 201)]
        assert isinstance(answers[200], NotFound)
        first, second = (
            asyncio.gather(submit(committer, publish("run-0", "1"))),
            asyncio.gather(submit(committer, publish("run-0", "2"))),
        )
        await asyncio.gather(first, second)

    store = with_committer(test)
    assert [len(batch) for batch in store.batches] == [201, 1, 1]
    assert store.threads[:2] == [HERE, HERE]


def test_nothing_overtakes_what_the_writer_has():
    async def test(store: WatchedStore, committer: Committer) -> None:
        first = await held_up(store, committer)
        store.free = True
        second = asyncio.create_task(submit(committer, publish("first", "1")))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not second.done()
        store.go_on.set()
        await asyncio.gather(first, second)

    assert with_committer(test).threads == [WRITER, WRITER]


def test_a_disk_that_keeps_the_loop_waiting_is_left_to_the_writer_until_it_is_quick_again():
    async def test(store: WatchedStore, committer: Committer) -> None:
        store.free, store.waits_s = True, 0.02
        for n in range(6):
            await submit(committer, create(f"slow-{n}"))
        store.waits_s = 0.0
        for n in range(40):
            await submit(committer, create(f"quick-{n}"))

    threads = with_committer(test).threads
    assert threads[0] == HERE
    assert threads[5] == WRITER
    assert threads[-1] == HERE


def test_an_interrupted_task_keeps_the_others_of_its_batch_from_nothing():
    async def interrupted(committer: Committer) -> None:
        await committer.submit(create("a"))
        raise KeyboardInterrupt

    store = WatchedStore()
    store.free = True
    loop = asyncio.new_event_loop()
    try:
        committer = loop.run_until_complete(_made(store))
        first, second = loop.create_task(interrupted(committer)), loop.create_task(submit(committer, create("b")))
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(first)
        assert loop.run_until_complete(second) == (2,)
        committer.close()
    finally:
        loop.close()


async def _made(store: WatchedStore) -> Committer:
    return GroupCommitter(store, SystemClock(), loop := asyncio.get_running_loop(), Notifier(loop), commit_on_loop=True)
