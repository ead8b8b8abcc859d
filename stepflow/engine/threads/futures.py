"""futures: what one thread waits for while an event loop, perhaps in another thread, works on it; and the end of cancelled tasks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar
from weakref import WeakSet

from stepflow.drivers.port.background import join, start_thread
from stepflow.engine.threads.raised import for_future
from stepflow.errors import StepflowError

T = TypeVar("T")
Ending = tuple[T | None, KeyboardInterrupt | None]
LOOK_UP_S = 0.5
CANCEL_TIMEOUT_S = 2.0  # for cancelled tasks to end
_left_behind: WeakSet[asyncio.Task[Any]] = WeakSet()


async def uninterrupted(work: Coroutine[Any, Any, T]) -> tuple[T | None, KeyboardInterrupt | None]:
    """The coroutine's result, or the KeyboardInterrupt that ended it: raised in a task it would stop the whole loop."""
    try:
        return await work, None
    except KeyboardInterrupt as interrupt:
        return None, interrupt


async def end_of_cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Wait for the end of cancelled tasks, CANCEL_TIMEOUT_S at most. No later call waits for those that go on all the same."""
    waited = [task for task in tasks if task not in _left_behind]
    if waited:
        _done, late = await asyncio.wait(waited, timeout=CANCEL_TIMEOUT_S)
        _left_behind.update(late)


async def join_task(task: asyncio.Task[Any]) -> None:
    """Wait for the end of a task; raises what it raised. It may have been cancelled: code that it called can do that."""
    await asyncio.wait((task,))
    if not task.cancelled():
        task.result()


def keep_task(task: asyncio.Task[Any] | None) -> None:
    """User code cancelled the task that runs it: the task goes on."""
    while task is not None and task.cancelling():
        task.uncancel()


async def end_of_own_cancels(task: asyncio.Task[Any] | None) -> None:
    """Let cancellations of the present task by code that it called end here: what follows is not cancelled."""
    if task is not None and task.cancelling():
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)  # one that was not delivered yet comes here
        keep_task(task)


async def off_loop(work: Callable[[], T]) -> T:
    """Do blocking work in a thread, which keeps no process from its end; at the interpreter's exit, when none can be started, here."""
    loop, context = asyncio.get_running_loop(), copy_context()
    future: asyncio.Future[T] = loop.create_future()

    def answer(outcome: T | None, error: BaseException | None) -> None:
        if future.done():
            return  # its waiter was cancelled
        if error is None:
            future.set_result(outcome)  # type: ignore[arg-type]  # None only with an error, or if the work gives it
        else:
            future.set_exception(error)

    def run() -> None:
        outcome, failure = None, None
        try:
            outcome = context.run(work)
        except BaseException as error:  # noqa: BLE001 - handed to the waiter
            failure = for_future(error)
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(answer, outcome, failure)

    try:
        thread = start_thread(run, "stepflow-off-loop", "work that takes long")
    except StepflowError as error:
        if "shutdown" in str(error):
            return work()
        raise
    try:
        return await future
    finally:
        if not future.cancelled():
            join(thread)  # it has given its answer, and has nothing more to do


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in this thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def answer_of(future: Future[T]) -> T:
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


def value_of(outcome: Ending[T]) -> T:
    """The result of `uninterrupted`; raises the interrupt that it holds."""
    result, interrupt = outcome
    if interrupt is not None:
        raise interrupt
    return result  # type: ignore[return-value]  # None only with an interrupt


def future_of(make: Callable[[], asyncio.Task[T]], loop: asyncio.AbstractEventLoop) -> Future[T]:
    """What another thread may wait for: done when the task is that `make` gives on the loop; to cancel it cancels the task."""
    future: Future[T] = Future()

    def begin() -> None:
        task = make()
        task.add_done_callback(done)
        future.add_done_callback(partial(cancel, task))

    def done(task: asyncio.Task[T]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        if task.cancelled():
            future.set_exception(CancelledError())
        elif error := task.exception():
            future.set_exception(error)
        else:
            future.set_result(task.result())

    def cancel(task: asyncio.Task[T], future: Future[T]) -> None:
        if future.cancelled():
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(asyncio.Task.cancel, task)

    loop.call_soon_threadsafe(begin)
    return future
