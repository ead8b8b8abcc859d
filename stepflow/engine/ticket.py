"""Ticket: one write on its way to the store, and what its waiter awaits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable
from contextvars import Context
from typing import Any

from stepflow.drivers.values import Commit, Release

_PENDING: Any = object()


class Ticket:
    """A write with its waiter: the task that awaits it, or the callback `landed`.

    To a task it is a future (`asyncio.Task` asks only for what is defined here), but its task goes on inside `answer`, and
    not in a callback of its own later: a batch wakes its tasks at half the cost. One task may await it, once.
    """

    __slots__ = ("_asyncio_future_blocking", "_context", "_loop", "_outcome", "_wake", "landed", "write")

    def __init__(
        self,
        write: Commit | Release,
        loop: asyncio.AbstractEventLoop | None = None,
        landed: Callable[[Any], None] | None = None,
    ) -> None:
        self.write, self.landed = write, landed
        self._asyncio_future_blocking = False
        self._loop, self._outcome = loop, _PENDING
        self._wake: Callable[[Ticket], None] | None = None

    def answer(self, outcome: Any) -> None:
        """Let the task go on with the outcome, a value or an exception to be raised; on the event loop."""
        if self._outcome is not _PENDING:
            return  # the task was cancelled
        self._outcome = outcome
        if self._wake is not None:
            self._context.run(self._wake, self)

    def result(self) -> Any:
        """The outcome."""
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome

    def add_done_callback(self, wake: Callable[[Ticket], None], *, context: Context) -> None:
        """The task will go on by this call."""
        self._wake, self._context = wake, context

    def cancel(self, msg: Any = None) -> bool:
        """Let the task end; its write is done all the same."""
        if self._outcome is not _PENDING or self._wake is None or self._loop is None:
            return False
        self._outcome = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        self._loop.call_soon(self._wake, self, context=self._context)
        return True

    def __await__(self) -> Generator[Ticket, None, Any]:
        if self._outcome is _PENDING:
            self._asyncio_future_blocking = True
            yield self
        outcome = self._outcome
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def answer_all(loop: asyncio.AbstractEventLoop, answers: Iterable[tuple[Ticket, Any]]) -> None:
    """Let the tasks of a batch go on, one after the other."""
    left = iter(answers)
    try:
        for ticket, outcome in left:
            ticket.answer(outcome)
    except BaseException:  # a task was interrupted, which ends the loop's present run: the others go on in the next one
        loop.call_soon(answer_all, loop, list(left))
        raise
