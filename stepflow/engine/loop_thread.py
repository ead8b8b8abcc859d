"""The background event loop through which sync callers reach an AsyncEngine."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from contextvars import ContextVar
from typing import Any, TypeVar

from stepflow.drivers.port.background import join
from stepflow.errors import StepflowError

T = TypeVar("T")
CANCEL_TIMEOUT_S = 2.0  # for cancelled tasks to end
LOOK_UP_S = 0.5
NO_WAIT_IN_STEP = "a step cannot wait for other runs in virtual time: nothing else moves while it runs"
in_sync_step: ContextVar[bool] = ContextVar("stepflow_in_sync_step", default=False)  # set by virtual time


async def uninterrupted(work: Coroutine[Any, Any, T]) -> tuple[T | None, KeyboardInterrupt | None]:
    """The coroutine's result, or the KeyboardInterrupt that ended it: raised in a task it would stop the whole loop."""
    try:
        return await work, None
    except KeyboardInterrupt as interrupt:
        return None, interrupt


def run_inline(work: Coroutine[Any, Any, T], refusal: str) -> T:
    """Run a coroutine to its end in the calling thread; StepflowError with `refusal` if it has to wait for something."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    work.close()
    raise StepflowError(refusal)


def _answer(future: Future[T]) -> T:
    """The future's result. The main thread looks up now and then.

    A signal that the system hands to another thread does not wake it, and only the main thread can run its handler.
    """
    while threading.current_thread() is threading.main_thread():
        try:
            return future.result(LOOK_UP_S)
        except TimeoutError:
            if future.done():  # it was perhaps the work's own
                break
    return future.result()


class LoopThread:
    """One thread with an event loop; `call` blocks the calling thread until the coroutine is done."""

    def __init__(self) -> None:
        self._pid, self._guard, self._closing = os.getpid(), threading.Lock(), False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="stepflow-loop", daemon=True)
        self._thread.start()

    @property
    def forked(self) -> bool:
        """Whether this is a child process of the one that opened the portal."""
        return os.getpid() != self._pid

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result; StepflowError on the loop's own thread and after fork, where it could never come.

        A sync step in virtual time is on the loop's thread too, but there nothing has to be waited for.
        """
        if in_sync_step.get() and threading.get_ident() == self._thread.ident:
            return run_inline(work, NO_WAIT_IN_STEP)
        if problem := self._problem():
            work.close()
            raise StepflowError(problem)
        with self._guard:  # what is scheduled before the loop's stop is sure to be answered
            if self._closing:
                work.close()
                raise StepflowError("the engine is closed: open a new one")
            future = asyncio.run_coroutine_threadsafe(uninterrupted(work), self._loop)
        try:
            result, interrupt = _answer(future)
        except CancelledError:
            work.close()  # it may not have begun
            raise StepflowError("the engine was closed meanwhile") from None
        except BaseException:
            future.cancel()
            raise
        if interrupt is not None:
            raise interrupt
        return result  # type: ignore[return-value]  # None only with an interrupt

    def _problem(self) -> str:
        if self.forked:
            return "the engine was opened before fork: open one in each process"
        if threading.get_ident() == self._thread.ident:
            return "a sync Engine was called from an async step on its own loop: use a sync step, or AsyncEngine"
        return ""

    def run_soon(self, fn: Any, *args: Any) -> None:
        """Call `fn` on the loop."""
        self._loop.call_soon_threadsafe(fn, *args)

    def close(self) -> None:
        """Cancel what is left and end the thread."""
        with self._guard:
            self._closing = True
            self._loop.call_soon_threadsafe(self._loop.stop)
        join(self._thread)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            if left:  # a task that goes on although it was cancelled must not keep the process
                self._loop.run_until_complete(asyncio.wait(left, timeout=CANCEL_TIMEOUT_S))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()
