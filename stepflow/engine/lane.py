"""The write lane: one thread through which all writes of an engine flow, so that what is ready together commits together.

Group commit: everything that became ready while the last transaction was on its way to the disk goes into the next one.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from attrs import define

from stepflow.drivers.base import Store
from stepflow.drivers.values import Commit, Release
from stepflow.engine.clock import Clock
from stepflow.errors import StepflowError

T = TypeVar("T")
MAX_BATCH = 1024
SHARE = 64  # writes with which the writer may begin: of many more runs it commits a part while the loop makes the rest


class Lane(ABC):
    """How writes reach the store. `on_batch`, if set, is called on the event loop after every batch of commits."""

    on_batch: Callable[[], None] | None = None

    @abstractmethod
    def submit(self, commit: Commit) -> Awaitable[tuple[int, ...]]:
        """Commit from the event loop; the new revisions, or the error that the store gave."""

    @abstractmethod
    def release(self, release: Release) -> Awaitable[bool]:
        """Give a claim back; False if it had been lost already."""

    @abstractmethod
    def post(self, commit: Commit, landed: Callable[[Any], None]) -> None:
        """Commit from any thread; `landed` is called in some thread with the new revisions or the error."""

    @abstractmethod
    async def call(self, fn: Callable[..., T], *args: Any) -> T:
        """Do another kind of write, between two batches."""

    @abstractmethod
    def close(self) -> None:
        """Finish what was submitted, then stop."""


class InlineLane(Lane):
    """Every write at once, in the caller's thread: deterministic, for virtual time."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    async def submit(self, commit: Commit) -> tuple[int, ...]:
        (result,) = self._store.commit([commit], self._clock.now())
        if isinstance(result, Exception):
            raise result
        if self.on_batch is not None:
            self.on_batch()
        return result

    async def release(self, release: Release) -> bool:
        return self._store.release([release], self._clock.now())[0]

    def post(self, commit: Commit, landed: Callable[[Any], None]) -> None:
        landed(self._store.commit([commit], self._clock.now())[0])

    async def call(self, fn: Callable[..., T], *args: Any) -> T:
        return fn(*args)

    def close(self) -> None:
        """Nothing is ever pending."""


@define(eq=False)
class _Ticket:
    """One write on its way: its waiter is a future of the event loop, or a callback."""

    write: Commit | Release
    future: asyncio.Future[Any] | None = None
    landed: Callable[[Any], None] | None = None


@define(eq=False)
class _Job:
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    future: asyncio.Future[Any]


def _ids(commit: Commit | Release) -> Iterable[str]:
    """The runs that a write touches."""
    if isinstance(commit, Release):
        return (commit.fence.id,)
    if commit.fence is not None and len(commit.writes) < 2 and not commit.publish:
        return (commit.fence.id,)
    touched = [w.state.id for w in commit.writes] + [q.id for q in commit.queue]
    touched += [e.run_id for e in commit.publish] + [c.id for c in commit.cancel]
    return {*touched, *commit.unowned}


def _answer(future: asyncio.Future[Any], result: Any) -> None:
    if future.done():
        return  # its waiter was cancelled
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)


class GroupLane(Lane):
    """A writer thread with group commit."""

    def __init__(self, store: Store, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        self._store, self._clock, self._loop = store, clock, loop
        self._inbox: SimpleQueue[list[_Ticket] | _Job | None] = SimpleQueue()
        self._pending: list[_Ticket] = []  # of the event loop, until the tasks that are ready now have run
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="stepflow-writer", daemon=True)
        self._thread.start()

    def submit(self, commit: Commit) -> asyncio.Future[tuple[int, ...]]:
        return self._enlist(commit)

    def release(self, release: Release) -> asyncio.Future[bool]:
        return self._enlist(release)

    def post(self, commit: Commit, landed: Callable[[Any], None]) -> None:
        self._inbox.put([_Ticket(commit, landed=landed)])

    async def call(self, fn: Callable[..., T], *args: Any) -> T:
        future: asyncio.Future[T] = self._loop.create_future()
        if not self._refused(future):
            self._inbox.put(_Job(fn, args, future))
        return await future

    def close(self) -> None:
        self._closed = True
        self._flush()
        self._inbox.put(None)
        self._thread.join()

    def _enlist(self, write: Commit | Release) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._closed and self._refused(future):
            return future
        pending = self._pending
        if not pending:
            # Behind the callbacks that are ready now: their commits join this batch.
            self._loop.call_soon(self._flush)
        pending.append(_Ticket(write, future))
        if len(pending) >= SHARE:
            self._flush()
        return future

    def _refused(self, future: asyncio.Future[Any]) -> bool:
        """Whether nobody would ever answer this future any more; then it is answered here."""
        if self._closed:
            future.set_exception(StepflowError("the engine was closed meanwhile: open a new one"))
        return self._closed

    def _flush(self) -> None:
        if self._pending:
            self._inbox.put(self._pending)
            self._pending = []

    def _run(self) -> None:
        carry: list[_Ticket] = []
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

    def _gather(self, carry: list[_Ticket]) -> tuple[list[_Ticket], Any]:
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

    def _write(self, tickets: list[_Ticket]) -> list[_Ticket]:
        """Commit the tickets, except those whose run is in the batch already: they are returned for the next one."""
        batch, later = _one_per_run(tickets)
        commits = [t for t in batch if isinstance(t.write, Commit)]
        answers = self._apply(self._store.commit, commits)
        if len(commits) < len(batch):
            answers += self._apply(self._store.release, [t for t in batch if isinstance(t.write, Release)])
        if answers:
            self._tell(_answer_all, answers)
        if self.on_batch is not None:
            self._tell(self.on_batch)
        return later

    def _apply(self, fn: Callable[..., Sequence[Any]], tickets: list[_Ticket]) -> list[tuple[asyncio.Future[Any], Any]]:
        """One transaction for all tickets; tells the callbacks, returns the answers for the event loop."""
        try:
            results = fn([t.write for t in tickets], self._clock.now()) if tickets else ()
        except Exception as error:  # noqa: BLE001 - every waiter must learn of it
            results = [error] * len(tickets)
        answers = []
        for ticket, result in zip(tickets, results, strict=True):
            if ticket.future is not None:
                answers.append((ticket.future, result))
            elif ticket.landed is not None:
                ticket.landed(result)
        return answers

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


def _answer_all(answers: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in answers:
        if type(result) is tuple and not future.done():
            future.set_result(result)
        else:
            _answer(future, result)


def _one_per_run(tickets: list[_Ticket]) -> tuple[list[_Ticket], list[_Ticket]]:
    seen: set[str] = set()
    batch, later = [], []
    for ticket in tickets:
        ids = _ids(ticket.write)
        if seen.isdisjoint(ids):
            batch.append(ticket)
        else:
            later.append(ticket)
        seen.update(ids)
    return batch, later
