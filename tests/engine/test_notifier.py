"""Notifier: who hears of what, and on which thread."""

from __future__ import annotations

import asyncio
import threading

from stepflow.drivers.port.commit import HeartbeatReply
from stepflow.engine.membership.notifier import Notifier


def test_a_heartbeat_reaches_the_subscribers_on_the_loop():
    heard: list[tuple[object, int]] = []

    async def go() -> None:
        notifier = Notifier(asyncio.get_running_loop())
        notifier.on_cancel(lambda run_id: heard.append((run_id, threading.get_ident())))
        notifier.on_due(lambda due: heard.append((due, threading.get_ident())))
        await asyncio.to_thread(notifier.heartbeat, HeartbeatReply(cancels=("a", "b")), True)
        await asyncio.sleep(0)
        assert heard == [(news, threading.get_ident()) for news in ("a", "b", 0)]

    asyncio.run(go())


def test_news_after_the_end_of_the_loop_are_dropped():
    made: list[Notifier] = []

    async def go() -> None:
        made.append(Notifier(asyncio.get_running_loop()))
        made[0].on_due(lambda _due: made.clear())

    asyncio.run(go())
    thread = threading.Thread(target=made[0].clock_moved)
    thread.start()
    thread.join()
    assert len(made) == 1


def test_a_subscriber_to_commits_hears_each_batch_once():
    heard: list[str] = []

    class Feed:
        def notify(self) -> None:
            heard.append("batch")

    async def go() -> None:
        notifier, feed = Notifier(asyncio.get_running_loop()), Feed()
        assert not notifier.watched
        for _ in range(2):
            notifier.on_commit(feed.notify)
        assert notifier.watched
        notifier.committed()

    asyncio.run(go())
    assert heard == ["batch"]


def test_a_change_of_the_store_is_told_apart_from_that_of_a_run():
    async def go() -> None:
        heard: list[object] = []
        notifier = Notifier(asyncio.get_running_loop())
        notifier.on_due(heard.append)
        notifier.on_run(heard.append)
        notifier.on_store(lambda: heard.append("store"))
        notifier.run_changed("b")
        assert heard == ["b"]
        notifier.store_changed()
        assert heard == ["b", "store", 0]

    asyncio.run(go())
