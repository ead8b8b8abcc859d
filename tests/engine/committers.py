"""A committer over a store that notes its batches and can be held up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from stepflow import Full
from stepflow.drivers.memory.session import Memory, MemoryStore
from stepflow.drivers.port.commit import Commit, CommitResult, Committed, Created, Enqueue, Event, Owner, Release, Write
from stepflow.drivers.port.step import Member
from stepflow.engine.clock import SystemClock
from stepflow.engine.commit.committer import Committer
from stepflow.engine.commit.group import GroupCommitter
from stepflow.engine.membership.notifier import Notifier
from stepflow.model.state import State, Transition


class WatchedStore(MemoryStore):
    """A memory store that notes its batches and can be held up, so that the commits that arrive meanwhile wait."""

    def __init__(self) -> None:
        super().__init__(Memory(), "", Owner("me", "host", 1))
        self.batches: list[list[Any]] = []
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        self.full = self.short = False
        self.free, self.waits_s = False, 0.0  # for how long each commit keeps its thread, as a slow disk would
        self.waited_s = 0.0
        self.threads: list[str] = []  # that made the batches

    def commit(self, batch: Sequence[Member], now: int) -> list[CommitResult]:
        self.entered.set()
        assert self.go_on.wait(60)
        self.batches.append(list(batch))
        self.threads.append(threading.current_thread().name)
        self.waited_s += self.waits_s
        if self.full:
            raise Full("no room; make some")
        answers = super().commit(batch, now)
        return answers[:-1] if self.short else answers

    def commit_if_free(self, batch: Sequence[Member], now: int) -> list[CommitResult] | None:
        return self.commit(batch, now) if self.free else None

    def release(self, batch: Sequence[Release], now: int) -> list[bool]:
        self.batches.append(list(batch))
        return super().release(batch, now)


class WaitClock(SystemClock):
    """The clock of the system, by which threads wait for a store only."""

    def __init__(self, store: WatchedStore) -> None:
        super().__init__()
        self._store = store

    def waited(self) -> float:
        return self._store.waited_s


def create(run_id: str) -> Commit:
    state = State(run_id, 0, Transition("x"))
    return Commit(writes=(Write(state, "1", Created("x", "", 0)),), queue=(Enqueue(run_id, "x", 0),))


def publish(run_id: str, event_id: str) -> Commit:
    return Commit(publish=(Event(run_id, "paid", event_id, "1", 0),))


def with_committer(test: Callable[[WatchedStore, Committer], Coroutine[Any, Any, None]]) -> WatchedStore:
    store = WatchedStore()

    async def go() -> None:
        loop = asyncio.get_running_loop()
        committer = GroupCommitter(store, WaitClock(store), loop, Notifier(loop), commit_on_loop=True)
        await test(store, committer)
        store.go_on.set()
        await asyncio.to_thread(committer.close)

    asyncio.run(go())
    return store


async def held_up(store: WatchedStore, committer: Committer) -> asyncio.Task[Any]:
    """The writer is in a commit now, and stays there until `go_on` is set."""
    store.go_on.clear()
    store.entered.clear()
    task = asyncio.create_task(submit(committer, create("first")))
    assert await asyncio.to_thread(store.entered.wait, 60)
    return task


async def submit(committer: Committer, commit: Commit) -> tuple[int, ...]:
    """The new revisions."""
    return (await committer.submit(commit)).revs


def revs(answer: Any) -> Any:
    """The new revisions in an answer of the store; an error as it is."""
    return answer.revs if isinstance(answer, Committed) else answer


async def released(committer: Committer, release: Release) -> bool:
    return await committer.release(release)


async def all_of(committer: Committer, commits: Sequence[Commit], store: WatchedStore) -> list[Any]:
    """Hold the writer up, submit everything, let it go; the answers or errors."""
    first = await held_up(store, committer)
    tasks = [asyncio.create_task(submit(committer, commit)) for commit in commits]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    store.go_on.set()
    await first
    return await asyncio.gather(*tasks, return_exceptions=True)
