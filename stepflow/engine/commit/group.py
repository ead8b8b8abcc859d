"""Group commit: everything that became ready while the last transaction was on its way to the disk goes into the next one.

A store whose disk is quick commits on the event loop itself; any other has a thread for that.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from attrs import define

from stepflow.drivers.port.commit import CommitResult, Release
from stepflow.drivers.port.step import Member, Step
from stepflow.drivers.port.store import Store
from stepflow.engine.clock import Clock
from stepflow.engine.commit.committer import Committer
from stepflow.engine.commit.pending import PENDING, PendingCommit, answer_all
from stepflow.engine.membership.notifier import Notifier
from stepflow.errors import StepflowError

T = TypeVar("T")
MAX_BATCH = 1024
QUICK_S = (
    0.001  # a commit that keeps its thread waiting for less is made on the loop: changing threads twice costs as much
)
SHARE = 64  # writes with which the writer may begin: of many more runs it commits a part while the loop makes the rest


@define(eq=False)
class _Job:
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    future: asyncio.Future[Any]


def _ids(member: Member) -> set[str]:
    """The runs that a commit touches."""
    if isinstance(member, Step):
        return {member.id}
    fence, unowned, writes, _consume, queue, publish, cancel, *_others = member
    ids = {*unowned, *[write.state.id for write in writes], *[part.id for part in queue]}
    if fence is not None:
        ids.add(fence.id)
    if publish or cancel:
        ids.update([event.run_id for event in publish] + [mark.id for mark in cancel])
    return ids


def _closed() -> StepflowError:
    return StepflowError("the engine was closed meanwhile: open a new one")


def _answer(future: asyncio.Future[Any], result: Any) -> None:
    if future.done():
        return  # its waiter was cancelled
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)


class GroupCommitter(Committer):
    """Commits on the event loop while the store is quick and free, else in a writer thread."""

    def __init__(self, store: Store, clock: Clock, loop: asyncio.AbstractEventLoop, notifier: Notifier) -> None:
        self._store, self._clock, self._loop, self._notifier = store, clock, loop, notifier
        self._inbox: SimpleQueue[list[PendingCommit] | _Job | None] = SimpleQueue()
        self._pending: list[PendingCommit] = []  # of the event loop, until the tasks that are ready now have run
        self._sent = 0  # tickets of the loop that the writer has not answered: nothing may overtake them
        self._wait_s = 0.0  # for which a commit keeps its thread waiting, of late
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="stepflow-writer", daemon=True)
        self._thread.start()

    def submit(self, commit: Member | Release, before: Awaitable[Any] | None = None) -> PendingCommit:
        if type(before) is PendingCommit and type(commit) is Step:
            entry = before
            entry.write, entry.outcome = commit, PENDING
        else:
            entry = PendingCommit(commit, self._loop)
        if self._closed:
            entry.outcome = _closed()  # nobody would ever answer it any more
            return entry
        pending = self._pending
        if not pending:
            # Behind the callbacks that are ready now: their commits join this batch.
            self._loop.call_soon(self._flush)
        pending.append(entry)
        if len(pending) >= SHARE and not self._quick():
            self._send(self._take())  # to the writer for sure: an answer here would wake a task inside of this one
        return entry

    async def submit_all(self, commits: Sequence[Member]) -> list[CommitResult]:
        if len(commits) < SHARE or self._closed or (len(commits) < MAX_BATCH and self._quick()):
            entries = [self.submit(commit) for commit in commits]
        else:
            entries = [PendingCommit(commit, self._loop) for commit in commits]
            for first in range(0, len(entries), MAX_BATCH):
                self._send(entries[first : first + MAX_BATCH])
        for entry in reversed(entries):  # the last one's answer comes with those of most others
            with suppress(StepflowError):
                await entry
        return [entry.outcome for entry in entries]

    def release(self, release: Release) -> PendingCommit:
        return self.submit(release)

    def submit_threadsafe(self, commit: Member, on_done: Callable[[Any], None]) -> None:
        self._inbox.put([PendingCommit(commit, on_done=on_done)])

    async def call(self, fn: Callable[..., T], *args: Any) -> T:
        if self._closed:
            raise _closed()
        future: asyncio.Future[T] = self._loop.create_future()
        self._inbox.put(_Job(fn, args, future))
        return await future

    async def run_inline_or_in_writer(self, free: Callable[[], T | None], fn: Callable[[], T]) -> T:
        done = free() if self._quick() and not self._closed else None
        return await self.call(fn) if done is None else done

    def close(self) -> None:
        self._closed = True
        self._send(self._take())
        self._inbox.put(None)
        self._thread.join()

    def _quick(self) -> bool:
        """Whether the loop may commit: nothing is on its way that it would overtake, and it would not wait long."""
        return not self._sent and self._wait_s < QUICK_S

    def _flush(self) -> None:
        entries = self._take()
        self._send(self._commit(entries) if entries and self._quick() else entries)

    def _take(self) -> list[PendingCommit]:
        entries, self._pending = self._pending, []
        return entries

    def _send(self, entries: list[PendingCommit]) -> None:
        if entries:
            self._sent += len(entries)
            self._inbox.put(entries)

    def _commit(self, entries: list[PendingCommit]) -> list[PendingCommit]:
        """Commit here and now what can be; the tickets that are left for the writer."""
        commits, releases, later = _one_per_run(entries)
        results = self._apply(self._store.commit_if_free, commits) if commits else ()
        if results is None:
            return entries
        answer_all(self._loop, zip(commits, results, strict=True))
        if self._notifier.watched:
            self._notifier.committed()
        return releases + later

    def _run(self) -> None:
        carry: list[PendingCommit] = []
        while True:
            batch, after = self._gather(carry)
            carry = self._write(batch) if batch else []
            if isinstance(after, _Job):
                while carry:
                    carry = self._write(carry)
                self._do(after)
            elif after is not _MORE:
                while carry:
                    carry = self._write(carry)
                return

    def _gather(self, carry: list[PendingCommit]) -> tuple[list[PendingCommit], Any]:
        """All tickets that are there now, and what came behind them: a job, None to stop, or `_MORE`."""
        batch = carry
        try:
            item = self._inbox.get(block=not carry)
            while isinstance(item, list):
                batch = batch + item if batch else item
                if len(batch) >= MAX_BATCH:
                    return batch, _MORE
                item = self._inbox.get_nowait()
        except Empty:
            return batch, _MORE
        return batch, item

    def _write(self, entries: list[PendingCommit]) -> list[PendingCommit]:
        """Commit the tickets, except those whose run is in the batch already: they are returned for the next one."""
        commits, releases, later = _one_per_run(entries)
        answers: list[tuple[PendingCommit, Any]] = []
        for part, fn in ((commits, self._store.commit), (releases, self._store.release)):
            results = self._apply(fn, part) if part else None
            for entry, result in zip(part, results or (), strict=True):
                if entry.on_done is None:
                    answers.append((entry, result))
                else:
                    entry.on_done(result)
        if answers:
            self._tell(self._answered, answers)
        if self._notifier.watched:
            self._tell(self._notifier.committed)
        return later

    def _apply(self, fn: Callable[..., Sequence[Any] | None], entries: list[PendingCommit]) -> Sequence[Any] | None:
        """The results of one transaction for all tickets; None if `fn` gives none."""
        waited = self._clock.waited()
        try:
            results = fn([entry.write for entry in entries], self._clock.now())
        except Exception as error:  # noqa: BLE001 - every waiter must learn of it
            results = [error] * len(entries)
        if results is not None:
            waited = min(self._clock.waited() - waited, 4 * QUICK_S)  # one stall alone tells nothing of the next commit
            self._wait_s += (waited - self._wait_s) / 8
        return results

    def _answered(self, answers: list[tuple[PendingCommit, Any]]) -> None:
        self._sent -= len(answers)
        answer_all(self._loop, answers)

    def _do(self, job: _Job) -> None:
        try:
            result: Any = job.fn(*job.args)
        except Exception as error:  # noqa: BLE001 - its waiter must learn of it
            result = error
        self._tell(_answer, job.future, result)

    def _tell(self, fn: Callable[..., None], *args: Any) -> None:
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            self._loop.call_soon_threadsafe(fn, *args)


_MORE = object()


def _one_per_run(entries: list[PendingCommit]) -> tuple[list[PendingCommit], list[PendingCommit], list[PendingCommit]]:
    """The commits and the releases that may be in one batch, and those whose run has a write in it already."""
    runs = {entry.run for entry in entries}
    if len(runs) == len(entries) and "" not in runs:
        return entries, [], []  # steps of as many runs
    seen: set[str] = set()
    commits: list[PendingCommit] = []
    releases: list[PendingCommit] = []
    later: list[PendingCommit] = []
    for entry in entries:
        write = entry.write
        ids = {write.fence.id} if isinstance(write, Release) else _ids(write)
        if seen.isdisjoint(ids):
            (releases if isinstance(write, Release) else commits).append(entry)
        else:
            later.append(entry)
        seen.update(ids)
    return commits, releases, later
