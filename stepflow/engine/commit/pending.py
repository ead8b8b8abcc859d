"""PendingCommit: one write on its way to the store, and what its waiter awaits."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextvars import Context
from types import coroutine
from typing import Any, ClassVar, TypeVar

from stepflow.drivers.port.commit import Commit, Release
from stepflow.drivers.port.step import Append, Member, Step

T = TypeVar("T")
PENDING: Any = object()  # the outcome until there is one


class PostedCommit(ABC):
    """A write of any thread, and its waiter."""

    __slots__ = ("run", "write")

    def __init__(self, write: Member) -> None:
        self.renew(write)

    def renew(self, write: Member) -> None:
        """The same waiter has another write, once the last one was answered."""
        self.write = write
        self.run = write.id if type(write) is Step else _run_of(write)

    @abstractmethod
    def on_done(self, result: Any) -> None:
        """Called in some thread with what the store answers, or with the error."""


class CalledBack(PostedCommit):
    """A write whose waiter is a function."""

    __slots__ = ("_fn",)

    def __init__(self, write: Member, fn: Callable[[Any], None]) -> None:
        super().__init__(write)
        self._fn = fn

    def on_done(self, result: Any) -> None:
        self._fn(result)


class PendingCommit:
    """A write with its waiter, the task that awaits it.

    To a task it is a future (`asyncio.Task` asks only for what is defined here), but its task goes on inside `answer_all`, and
    not in a callback of its own later: a batch wakes its tasks at half the cost. One task may await it.
    """

    __slots__ = ("_asyncio_future_blocking", "_loop", "context", "outcome", "run", "wake", "write")

    def __init__(self, write: Member | Release, loop: asyncio.AbstractEventLoop) -> None:
        self.write = write
        self.run = write.id if type(write) is Step else _run_of(write)
        self._asyncio_future_blocking = True  # a coroutine that yields it to its task awaits it
        self._loop = loop
        self.outcome = PENDING
        self.wake: Callable[[PendingCommit], None] | None = None

    # asyncio.Task calls `result()` on wake-up only to re-raise; `__await__` raises instead, so any cheap callable will do.
    result: ClassVar[Callable[[], object]] = bool

    def add_done_callback(self, wake: Callable[[PendingCommit], None], *, context: Context) -> None:
        """The task will go on by this call."""
        self.wake, self.context = wake, context
        self._asyncio_future_blocking = True  # a task that was cancelled and goes on awaits it again

    def cancel(self, msg: Any = None) -> bool:  # noqa: ARG002 - what `Task.cancel` passes
        """Let the task end; its write is done all the same."""
        if self.outcome is not PENDING or self.wake is None:
            return False
        wake, self.wake = self.wake, None
        self._loop.call_soon(wake, self, context=self.context)  # the outcome stays PENDING: that tells the task
        return True

    def __await__(self) -> Generator[PendingCommit, None, Any]:
        if self.outcome is PENDING:
            yield self
        outcome = self.outcome
        if outcome is PENDING:
            raise asyncio.CancelledError
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


@coroutine
def to_its_end(pending: Awaitable[T]) -> Generator[Any, Any, tuple[T, bool]]:
    """The answer to a write, and whether the task was cancelled meanwhile: the write is done all the same."""
    if type(pending) is not PendingCommit:
        return (yield from pending.__await__()), False
    outcome, cancelled = pending.outcome, False
    while outcome is PENDING:
        yield pending
        outcome = pending.outcome
        if outcome is PENDING:
            if cancelled:
                raise asyncio.CancelledError
            cancelled = True
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome, cancelled


def _run_of(write: Member | Release) -> str:
    """The run that a step writes, or a commit that touches no other; else empty: `one_per_run` has to look closer."""
    if type(write) is Step or type(write) is Append:
        return write.id
    if type(write) is not Commit or write.fence is None or len(write.writes) != 1:
        return ""
    run_id, queue = write.fence.id, write.queue
    if write.unowned or write.publish or write.cancel or write.writes[0].state.id != run_id or len(queue) > 1:
        return ""
    return run_id if not queue or queue[0].id == run_id else ""


def answer_all(loop: asyncio.AbstractEventLoop, answers: Iterable[tuple[PendingCommit, Any]]) -> None:
    """Let the tasks of a batch go on, one after the other, with a value or an exception to be raised; on the event loop."""
    left = iter(answers)
    try:
        for entry, outcome in left:
            if entry.outcome is PENDING:  # else the task was cancelled
                entry.outcome = outcome
                if entry.wake is not None:
                    entry.context.run(entry.wake, entry)
    except BaseException:  # a task was interrupted, which ends the loop's present run: the others go on in the next one
        loop.call_soon(answer_all, loop, list(left))
        raise
