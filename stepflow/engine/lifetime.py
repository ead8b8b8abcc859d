"""Lifetime: in which process and on which event loop an engine is open, and whether it is at work or closing; what the wrong form of `with` says."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

from stepflow.errors import StepflowError

NOT_OPEN = "the engine is not open: use it inside `with Engine(...) as engine:`, or call engine.open() before"
NOT_OPEN_ASYNC = (
    "the engine is not open: use it inside `async with AsyncEngine(...) as engine:`, in a server in its lifespan"
)
CLOSED = "the engine is closed: open a new one"


class _Lineage:
    """Counts the forks between the first process and this one; asking the system for a process id costs more than a step."""

    forks = 0

    def forked(self) -> None:
        self.forks += 1


LINEAGE = _Lineage()
os.register_at_fork(after_in_child=LINEAGE.forked)


class Lifetime:
    """From `opened` to `closed`; in between an engine may be at work, from `work_began` to `work_ended`.

    With `any_loop` calls are also right in threads where another event loop runs, such as a notebook's: the blocking face
    passes them on to the engine's own loop, or makes them without one.
    """

    def __init__(self, *, any_loop: bool = False) -> None:
        self._any_loop, self._open, self.closing = any_loop, False, False
        self._was_open, self._work_ends = False, False
        self._worker: asyncio.Task[Any] | None = None  # the task that is at work
        self._forks = 0  # as of when it was opened

    @property
    def is_open(self) -> bool:
        """Whether some process opened the engine and this one did not close it."""
        return self._open

    @property
    def forked(self) -> bool:
        """Whether this is a child process of the one that opened the engine."""
        return self._open and self._forks != LINEAGE.forks

    @property
    def blocking(self) -> bool:
        """Whether callers use the blocking face, which awaits nothing on their behalf."""
        return self._any_loop

    @property
    def at_work(self) -> bool:
        """Whether the engine may hold claims of its worker."""
        return not self._at_rest.is_set()

    def check_open(self) -> None:
        """Raise StepflowError unless this process opened the engine, on this event loop if one runs, and did not close it."""
        if not self._open:
            raise StepflowError(CLOSED if self._was_open else NOT_OPEN if self.blocking else NOT_OPEN_ASYNC)
        if self._forks != LINEAGE.forks:
            raise StepflowError("the engine was opened before fork: open one in each process")
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:  # no loop runs in this thread
            return
        if running is not self.loop and not self._any_loop:
            raise StepflowError("the engine was opened on another event loop: use it there, or open one here")

    def opened(self) -> None:
        """The store is connected: the engine belongs to this process and to the loop that runs here."""
        self._open, self._forks, self.loop, self.closing = True, LINEAGE.forks, asyncio.get_running_loop(), False
        self._at_rest = asyncio.Event()
        self._at_rest.set()

    def begin_closing(self) -> None:
        """Executions should come to an end."""
        self.closing = True

    def closed(self) -> None:
        """The engine is not open any more."""
        self._open, self._was_open = False, True

    async def end_of_work(self) -> None:
        """If work is about to end, for example after Ctrl-C, wait until it has ended."""
        while self._open and self.at_work and (self._work_ends or (self._worker and self._worker.cancelling())):
            await self._at_rest.wait()

    def work_began(self) -> None:
        """The engine may hold claims from now on; StepflowError if it may already."""
        self.check_open()
        if self.at_work:
            raise StepflowError("this engine is at work already: open another one for a second worker")
        self._at_rest.clear()
        self._worker, self._work_ends = asyncio.current_task(), False

    def work_ends(self) -> None:
        """The worker claims no more, and releases what it holds."""
        self._work_ends = True

    def work_ended(self) -> None:
        """The worker holds nothing any more."""
        self._worker = None
        self._at_rest.set()

    async def wait_for_rest(self, timeout_s: float) -> None:
        """Return when the work has ended, at the latest after `timeout_s`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._at_rest.wait(), timeout_s)


class AsyncWith:
    """A class with `async with`, and no `with`."""

    if not TYPE_CHECKING:  # a type checker refuses it

        def __enter__(self) -> NoReturn:
            raise TypeError(f"`with` of {_named(self)}: write `async with`, or use Engine, which blocks")

        def __exit__(self, *_error: object) -> None:
            """Never called: Python looks for it before it enters."""


class BlockingWith:
    """A class with `with`, and no `async with`."""

    if not TYPE_CHECKING:

        async def __aenter__(self) -> NoReturn:
            raise TypeError(
                f"`async with` of {_named(self)}: write `with`, or use AsyncEngine, whose calls are awaited"
            )

        async def __aexit__(self, *_error: object) -> None:
            """Never called: Python looks for it before it enters."""


def _named(self: object) -> str:
    return type(self).__name__.lstrip("_")
