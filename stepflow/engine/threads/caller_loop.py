"""CallerLoop: the event loop of a blocking engine, which the thread of a caller may run, and what its owner offers to pools."""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from typing import Any, Protocol, TypeVar

from attrs import frozen

from stepflow.engine.threads.futures import end_of_cancelled
from stepflow.errors import StepflowError
from stepflow.model.current import current_run

T = TypeVar("T")
DESCRIPTORS = (
    "the file descriptors of this engine were closed by other code of the process, such as os.closerange in a step, so nothing goes on"
    " here: let that code close only what it has opened, and start the process again; runs that were held go on elsewhere, or then"
)

CLOSED_MEANWHILE = "the engine was closed meanwhile"
CANCELLED = (
    "this call was cancelled on the event loop of its engine, as by a step that cancels what it does not know: what was asked for may have"
    " been done; look, and call again"
)


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

    def end(self, why: str) -> None:
        """The loop cannot run any more: let every call, of now and later, raise StepflowError with this; from any thread."""


class CallTask(asyncio.Task[T]):
    """The task of a caller's call. A step that cancels all tasks of the loop does not cancel it, unless the step made the call."""

    def __init__(self, work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(work, loop=loop)
        self._made_by, self._exposed = current_run(), False

    def expose(self, exposed: bool) -> None:
        """Whether steps may cancel it all the same: the call advances runs itself, and finds out that a step did."""
        self._exposed = exposed

    def cancel(self, msg: Any | None = None) -> bool:
        return super().cancel(msg) if self._exposed or current_run() in ("", self._made_by) else False


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
        self._waits = selectors.DefaultSelector()
        super().__init__(self._waits)
        self.owner, self._pid = owner, os.getpid()
        self._had_tasks = False  # whether a task was made that may be left
        own: Any = self
        self._wakes: socket.socket = own._csock  # noqa: SLF001
        self._pipe = [(end, os.fstat(end.fileno()).st_ino) for end in (own._ssock, own._csock)]  # noqa: SLF001

    def run_forever(self) -> None:
        """As on every loop. Raises StepflowError if other code closed its descriptors."""
        try:
            super().run_forever()
        except (OSError, ValueError) as error:
            if self._has_descriptors():
                raise
            self.owner.end(DESCRIPTORS)
            raise StepflowError(DESCRIPTORS) from error

    def _write_to_self(self) -> None:
        """Wake the thread that runs the loop, if that can still be done."""
        try:
            self._wakes.send(b"\0")
        except BlockingIOError:  # it is woken already
            pass
        except OSError:
            if not self.is_closed():
                self.owner.end(DESCRIPTORS)
                self.stop()  # at its next timer

    def _has_descriptors(self) -> bool:
        """Whether the loop can wait, and can be woken."""
        try:
            self._waits.select(0)
            return all(os.fstat(end.fileno()).st_ino == inode for end, inode in self._pipe)
        except (OSError, ValueError):
            return False

    async def finish(self) -> None:
        """Cancel what is left on the loop, and end what belongs to it."""
        left = asyncio.all_tasks() - {asyncio.current_task()}  # with those of the last calls, which begin here
        for task in left:
            asyncio.Task.cancel(task)
        await end_of_cancelled(left)  # a task that goes on although it was cancelled must not keep the process
        await self.shutdown_asyncgens()
        with suppress(RuntimeError):  # it starts a thread, which Python 3.12.0 to 3.12.2 refuse at exit
            await self.shutdown_default_executor()
        await asyncio.sleep(0)  # the last calls get their answers

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
            task = CallTask(work, loop=self)
        finally:
            del self.call_soon
        return task, scheduled[0]

    def begin_call(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """The task of a call, on the loop while it runs."""
        self._had_tasks = True
        return CallTask(work, loop=self)

    def has_tasks(self, begun: asyncio.Task[Any]) -> bool:
        """Whether a task is left, after the call of the task that was `begun`."""
        self._had_tasks = (self._had_tasks or not begun.done()) and bool(asyncio.all_tasks(self))
        return self._had_tasks

    def add_signal_handler(self, *_: Any) -> None:  # type: ignore[override]
        """Refused, as on every loop outside of the main thread: this one may move to another thread."""
        raise RuntimeError("a blocking engine handles signals in the thread that calls it")

    def close(self) -> None:
        """As on every loop, also if its descriptors were closed by others."""
        with suppress(OSError, ValueError):
            super().close()

    def __del__(self) -> None:
        if not self.is_closed() and os.getpid() == self._pid:  # a forked child shares the selector with its parent
            self.close()
