"""Group commit: everything that became ready while the last transaction was written to the disk goes into the next one.

The writer commits: work of a pool of one thread, which is scheduled when there is something to write. An engine that owns its
event loop lets the loop itself commit while the disk is quick. What the threads of sync steps post, one of them writes once no
step is ready, so that no thread is switched to for it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from stepflow.drivers.port.background import JOIN_S
from stepflow.drivers.port.commit import CommitResult, Release
from stepflow.drivers.port.step import Member
from stepflow.drivers.port.store import Store
from stepflow.engine.clock import Clock
from stepflow.engine.commit.batch import Entry, one_per_run
from stepflow.engine.commit.committer import Committer
from stepflow.engine.commit.inbox import MAX_BATCH, MORE, Inbox, Job
from stepflow.engine.commit.pausing import stopped
from stepflow.engine.commit.pending import PENDING, CalledBack, PendingCommit, PostedCommit, answer_all
from stepflow.engine.membership.notifier import Notifier
from stepflow.engine.threads.futures import running_loop
from stepflow.engine.threads.last_work import IN_OTHER_THREAD, LastWork, MayBlock
from stepflow.engine.threads.thread_pool import ThreadPool
from stepflow.errors import StepflowError, StoreError

log = logging.getLogger("stepflow")
T = TypeVar("T")
QUICK_S = 0.001  # the loop commits if the store waits for less: two thread switches cost as much
SHARE = 64  # with so many writes the writer begins, while the loop makes the rest


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
    """Commits in a writer thread; with `commit_on_loop` on the event loop while the store is quick and free.

    A commit on the loop blocks it for as long as the disk takes. So only an engine that owns its loop asks for that.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        notifier: Notifier,
        *,
        commit_on_loop: bool = False,
    ) -> None:
        self._store, self._clock, self._loop, self._notifier = store, clock, loop, notifier
        self._commit_on_loop = commit_on_loop
        self._inbox, self._beside = Inbox(), {}
        self._pending: list[PendingCommit] = []  # of the event loop, until the tasks that are ready now have run
        self._lock = threading.Lock()  # the loop and the thread that closes take from `_pending`
        self._sent = 0  # writes of the loop that the writer has not answered: no later one may be committed before them
        self._wait_s = 0.0  # for which recent commits kept their thread waiting, on average
        self._closed = self._ended = False
        self._carry: list[Entry] = []  # of the writer: their runs were in the last batch already
        self._writing = threading.Lock()  # one thread at a time is the writer
        self._thread: MayBlock = IN_OTHER_THREAD  # that one, while it waits for the store
        self._scheduled = False  # a thread is going to write, or writes, all that is in the inbox
        self._pool = ThreadPool(loop, "stepflow-writer")
        self._guard = self._pool.guard
        self.guards = (self._guard,)

    def submit(self, commit: Member | Release) -> PendingCommit:
        entry = PendingCommit(commit, self._loop)
        if self._closed:
            entry.outcome = _closed()
            return entry
        pending = self._pending
        if not pending:
            if self._pool.in_first_step and not self._sent and not isinstance(commit, Release):
                entry.outcome = self.commit_now(commit)
                if entry.outcome is not PENDING:
                    return entry
            # Behind the callbacks that are ready now: their commits join this batch.
            self._loop.call_soon(self._flush)
        pending.append(entry)
        if len(pending) == SHARE and not self._quick():
            self._send(self._take())  # to the writer: an answer here would wake a task inside of this one
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
        result = self.commit_now(commit)
        if result is PENDING:
            self._put(CalledBack(commit, on_done))
        else:
            on_done(result)

    def post(self, posted: PostedCommit) -> None:
        self._inbox.posted.append(posted)
        if self._ended:
            self._refuse()

    @property
    def last_work(self) -> LastWork:
        return self

    @property
    def waits(self) -> bool:
        """Whether there are posted commits."""
        return bool(self._inbox.posted)

    def do(self, thread: MayBlock) -> None:
        """Write a batch in the calling thread, once no other one writes."""
        if not self._writing.acquire(blocking=False):
            thread.begin_blocking()
            self._writing.acquire()
            thread.end_blocking()
        self._thread = thread
        try:
            self._turn()
            while self._carry and not self._ended:
                self._turn()
        finally:
            self._thread = IN_OTHER_THREAD
            self._writing.release()

    def hand_over(self) -> None:
        """Let the writer's thread write the posted commits."""
        if self._inbox.posted:
            self._inbox.sent.append([])
            self._schedule(self._pool.push_to_threads)

    async def call(self, fn: Callable[..., T], *args: Any) -> T:
        if self._closed:
            raise _closed()
        if self._is_writer_now():
            try:
                return fn(*args)
            finally:
                self._writing.release()
        future: asyncio.Future[T] = self._loop.create_future()
        self._put(Job(fn, args, future))
        return await future

    async def run_inline_or_in_writer(self, free: Callable[[], T | None], fn: Callable[[], T]) -> T:
        done = free() if self._quick() else None
        return await self.call(fn) if done is None else done

    def close(self) -> None:
        self._closed = True
        self._send(self._take())
        self._inbox.sent.append(None)
        if self._writing.acquire(timeout=JOIN_S):
            self._write_inbox()
            self._writing.release()
        else:
            self._ended = True
            log.error("the writer did not end within %g s: its last call hangs", JOIN_S)
        self._refuse()
        self._pool.close()

    def _quick(self) -> bool:
        """Whether the loop may commit: no earlier write is with the writer, and the store would not block it for long."""
        return self._commit_on_loop and not self._sent and self._wait_s < QUICK_S and not self._closed

    def _is_writer_now(self) -> bool:
        """Whether the calling thread may block, and nothing else is to be written: then it has `_writing` now."""
        if self._scheduled or self._inbox.sent or self._inbox.posted or self._closed or not self._pool.caller_may_block:
            return False
        return self._writing.acquire(blocking=False)

    def commit_now(self, commit: Member) -> Any:
        if not self._is_writer_now():
            return PENDING
        try:
            (result,) = self._results(self._store.commit, [commit]) or (PENDING,)
        finally:
            self._writing.release()
        if self._notifier.watched:
            self._tell(self._notifier.committed)
        return result

    def _flush(self) -> None:
        entries = self._take()
        self._send(self._commit(entries) if entries and self._quick() else entries)

    def _take(self) -> list[PendingCommit]:
        with self._lock:
            entries = self._pending[:]
            del self._pending[: len(entries)]
        return entries

    def _send(self, entries: list[PendingCommit]) -> None:
        if entries:
            self._sent += len(entries)
            self._put(entries)

    def _put(self, item: list[PendingCommit] | CalledBack | Job) -> None:
        """Hand a write to the writer. One that comes too late is refused: either by `close` or here."""
        self._inbox.sent.append(item)
        # A caller that has the loop for itself writes a single commit; several tasks go on while a thread writes theirs.
        self._schedule(self._pool.push_to_threads if isinstance(item, list) and len(item) > 1 else self._pool.push)

    def _schedule(self, push: Callable[[Callable[[], None]], None]) -> None:
        if self._ended:
            self._refuse()
        elif not self._scheduled:
            self._scheduled = True
            push(self._write_all)

    def _commit(self, entries: list[PendingCommit]) -> list[PendingCommit]:
        """Commit on the loop; returns the writes that are left for the writer."""
        commits, releases, later = one_per_run(entries)
        results = self._apply(self._store.commit_if_free, [entry.write for entry in commits]) if commits else ()
        if results is None:
            return entries
        try:
            answer_all(self._loop, zip(commits, results, strict=True))
            if self._notifier.watched:
                self._notifier.committed()
        except BaseException:  # a task was interrupted, which ends the loop's present run
            self._send(releases + later)
            raise
        return releases + later

    def _write_all(self) -> None:
        """Be the writer until the inbox is empty."""
        with self._writing:
            while True:
                self._write_inbox()
                self._scheduled = False  # a write that comes now schedules the writer again
                if not self._inbox.sent:
                    return
                self._scheduled = True

    def _write_inbox(self) -> None:
        while (self._inbox.sent or self._carry) and not self._ended:
            self._turn()

    def _turn(self) -> None:
        """Write one batch and do the job that comes behind it, if any."""
        try:
            self._write_next()
        except BaseException as error:  # noqa: BLE001 - the writer goes on; logged
            self._guard.note(error)

    def _write_next(self) -> None:
        batch, after = self._inbox.gather(self._carry)
        self._carry = self._write(batch) if batch else []
        if after is MORE:
            return
        while self._carry:
            self._carry = self._write(self._carry)
        if isinstance(after, Job):
            self._do(after)
        else:
            self._ended = True

    def _refuse(self) -> None:
        """Answer what no writer will write any more."""
        for item in self._inbox.empty():
            if isinstance(item, Job):
                self._tell(_answer, item.future, _closed())
            else:
                self._deliver([(item, _closed())])

    def _write(self, entries: list[Entry]) -> list[Entry]:
        """Commit the writes, except those whose run is in the batch already: they are returned for the next one."""
        answers: list[tuple[Entry, Any]] = []
        try:
            commits, releases, later = one_per_run(entries)
            for part, fn in ((commits, self._store.commit), (releases, self._store.release)):
                if part:
                    results = self._may_block(self._apply, fn, [entry.write for entry in part])
                    answers += zip(part, results or (), strict=True)
        except BaseException as error:  # noqa: BLE001 - every waiter must learn of it; logged
            self._guard.note(error)
            answered, later = {id(entry) for entry, _result in answers}, []
            answers += [(entry, error) for entry in entries if id(entry) not in answered]
        self._deliver(answers)
        if self._notifier.watched:
            self._tell(self._notifier.committed)
        return later

    def _deliver(self, answers: list[tuple[Entry, Any]]) -> None:
        """Give every waiter its answer; a callback that fails keeps no other waiter from its own."""
        awaited: list[tuple[PendingCommit, Any]] = []
        for entry, result in answers:
            if isinstance(entry, PendingCommit):
                awaited.append((entry, result))
                continue
            try:
                entry.on_done(result)
            except BaseException as error:  # noqa: BLE001 - the writer goes on; logged
                self._guard.note(error)
        if awaited:
            self._tell(self._answered, awaited)

    def _apply(self, fn: Callable[..., Sequence[Any] | None], writes: Sequence[Any]) -> Sequence[Any] | None:
        """The results of one transaction for all writes; None if `fn` gives none. Measures how long it kept its thread waiting."""
        waited = self._clock.waited()
        results = self._results(fn, writes)
        if results is not None:
            waited = min(self._clock.waited() - waited, 4 * QUICK_S)  # one stall does not predict the next commit
            self._wait_s += (waited - self._wait_s) / 8
        return results

    def _results(self, fn: Callable[..., Sequence[Any] | None], writes: Sequence[Any]) -> Sequence[Any] | None:
        try:
            results = fn(writes, now := self._clock.now())
            if results is not None:
                results = stopped(self._store, writes, results, now, self._beside)
                if len(results) != len(writes):
                    raise StoreError(
                        f"the store gave {len(results)} answers to {len(writes)} writes: its driver is broken"
                    )
        except BaseException as error:  # noqa: BLE001 - every waiter must learn of it
            return [error] * len(writes)
        return results

    def _may_block(self, fn: Callable[..., T], *args: Any) -> T:
        """The result of a call of the store."""
        thread = self._thread
        thread.begin_blocking()
        try:
            return fn(*args)
        finally:
            thread.end_blocking()

    def _answered(self, answers: list[tuple[PendingCommit, Any]]) -> None:
        self._sent -= len(answers)
        answer_all(self._loop, answers)

    def _do(self, job: Job) -> None:
        try:
            result: Any = self._may_block(job.fn, *job.args)
        except BaseException as error:  # noqa: BLE001 - its waiter must learn of it
            result = error
        self._tell(_answer, job.future, result)

    def _tell(self, fn: Callable[..., None], *args: Any) -> None:
        if running_loop() is self._loop:
            self._loop.call_soon(fn, *args)
            return
        with suppress(RuntimeError):  # the loop was closed: no task waits
            self._loop.call_soon_threadsafe(fn, *args)
