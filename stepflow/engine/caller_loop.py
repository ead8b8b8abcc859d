"""CallerLoop: the event loop of a blocking engine, which the thread of a caller may run, and what its owner offers to pools."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Protocol, TypeVar

from attrs import frozen

T = TypeVar("T")


class StepThreads(Protocol):
    """The pool that does what callers do not do themselves: sync steps."""

    @property
    def busy(self) -> bool:
        """Whether its threads have work."""

    def push_marked(self, work: Callable[[], None]) -> None:
        """Let a thread do it; it tells when it may block."""

    def do(self, work: Callable[[], None]) -> None:
        """Do it in the calling thread; never raises."""


class LoopOwner(Protocol):
    """Who lets the threads of callers run the loop: what its pools ask."""

    first_step: bool
    """Whether the calling thread makes a first step: no other task can have something to do together with it."""

    @property
    def may_block(self) -> bool:
        """Whether the calling thread has the loop for its own call alone, without steps in threads: it may block."""

    def use(self, steps: StepThreads) -> None:
        """These threads get the steps that callers cannot do themselves."""

    def offer(self, work: Callable[[], None]) -> bool:
        """Whether the calling thread has the loop for its own call: then it calls the step soon."""

    def goes_on(self) -> bool:
        """Whether the calling thread, which makes a step that it was offered, makes the next one of the same run at once."""

    def do_between(self, fn: Callable[..., None], *args: Any) -> bool:
        """Whether the calling thread has the loop, which does not run now: then `fn`, which belongs to the loop, was called."""


@frozen
class FirstStep:
    """The first step of a task of `loop`."""

    loop: asyncio.AbstractEventLoop
    step: Callable[[], None]
    context: Context

    def make(self) -> None:
        """Make it in this thread; the loop must not run."""
        asyncio._set_running_loop(self.loop)  # noqa: SLF001 - as `run_forever` does
        try:
            self.context.run(self.step)
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001

    def schedule(self) -> None:
        """Let the loop make it; from any thread."""
        self.loop.call_soon_threadsafe(self.step, context=self.context)


class CallerLoop(asyncio.SelectorEventLoop):
    """The event loop of a LoopOwner."""

    def __init__(self, owner: LoopOwner) -> None:
        super().__init__()
        self.owner, self._pid = owner, os.getpid()
        self._had_tasks = False  # whether a task was made that may be left

    def create_task(self, *args: Any, **named: Any) -> Any:
        """As on every loop."""
        self._had_tasks = True
        return super().create_task(*args, **named)

    def begin(self, work: Coroutine[Any, Any, T]) -> tuple[asyncio.Task[T], FirstStep]:
        """A task, and its first step, which is not scheduled yet."""
        scheduled: list[FirstStep] = []

        def schedule(step: Callable[[], None], *, context: Context) -> None:
            scheduled.append(FirstStep(self, step, context))

        self.call_soon = schedule  # type: ignore[assignment,method-assign]
        try:
            task = super().create_task(work)
        finally:
            del self.call_soon
        return task, scheduled[0]

    def has_tasks(self, begun: asyncio.Task[Any]) -> bool:
        """Whether a task is left, after the call of the task that was `begun`."""
        self._had_tasks = (self._had_tasks or not begun.done()) and bool(asyncio.all_tasks(self))
        return self._had_tasks

    def add_signal_handler(self, *_: Any) -> None:  # type: ignore[override]
        """Refused, as on every loop outside of the main thread: this one may move to another thread."""
        raise RuntimeError("a blocking engine handles signals in the thread that calls it")

    def __del__(self) -> None:
        if not self.is_closed() and os.getpid() == self._pid:  # a forked child shares the selector with its parent
            self.close()
