"""time_limit: calls user functions that have a time limit, and counts those that go on after it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from typing import Any

from stepflow.drivers.port.background import Guard
from stepflow.engine.clock import Clock, VirtualClock
from stepflow.engine.execution import run_log
from stepflow.engine.execution.attempt import SteppedAttempt
from stepflow.engine.threads.futures import end_of_cancelled, keep_task
from stepflow.errors import StepflowError, TimedOut
from stepflow.model.current import current_step
from stepflow.model.error_text import is_a
from stepflow.model.flow import Call

Ended = tuple[BaseException | None, Any]


class TimeLimits:
    """The limited calls of one engine. `lost` counts the calls that have not ended although their time is over.

    An async function is cancelled at its limit. A thread cannot be ended: the attempt goes on without it, and the retry may
    overlap it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock, self._loop = clock, asyncio.get_running_loop()
        self.lost = 0
        self._told = False

    def exhausted(self, concurrency: int, guard: Guard) -> bool:
        """Whether as many calls are lost as a worker may make: it claims no more. The guard is told once."""
        told, self._told = self._told, self.lost >= concurrency
        if self._told and not told:
            guard.note(StepflowError(self._text(concurrency)))
        return self._told

    def check(self, concurrency: int) -> None:
        """Raise StepflowError if a worker may make no more calls."""
        if self.lost >= concurrency:
            raise StepflowError(self._text(concurrency))

    def _text(self, concurrency: int) -> str:
        return (
            f"{self.lost} step(s) go on although their timeout is over, and concurrency={concurrency}: this worker claims no"
            " more runs until one of them ends; restart the process, and let the steps end in time"
        )

    async def run(self, attempt: SteppedAttempt, call: Call, begin: Callable[..., Awaitable[Any]]) -> Any:
        """The result of the call, which `begin(context, fn, *args)` makes if it is sync; TimedOut if it has not ended within its limit."""
        limit_s, began, task = call.limit_s or 0.0, self._clock.monotonic(), asyncio.current_task()
        step, is_async = current_step() or attempt.current.step, call.is_async
        attempt.awaits = is_async
        work = self._loop.create_task(
            _outcome(call.fn(*call.args) if is_async else begin(copy_context(), call.fn, *call.args))
        )
        while True:
            try:
                await self._wait(work, began, limit_s)
                break
            except asyncio.CancelledError:
                if is_async:
                    await self._end(work, attempt, step)
                    raise
                if attempt.interrupted:
                    raise
                keep_task(task)  # only the worker ends the wait for a thread
        if work.done() and self._clock.monotonic() - began <= limit_s:
            error, value = work.result()
            if error is not None:
                raise error
            return value
        if is_async:
            await self._end(work, attempt, step)
        elif not work.done():
            attempt.lost = True
            self._count(work, attempt, step)
        raise _reached(attempt, step, limit_s)

    def call(self, attempt: SteppedAttempt, call: Call, begin: Callable[..., Awaitable[Any]]) -> Any:
        """`run` for a sync call of a sync workflow, from the thread that runs that; under virtual time the call is made here."""
        if not self._clock.virtual:
            bound = Call(partial(copy_context().run, call.fn), call.args, limit_s=call.limit_s)
            work = _outcome(self.run(attempt, bound, begin))
            error, value = asyncio.run_coroutine_threadsafe(work, self._loop).result()
            if error is not None:
                raise error
            return value
        began, limit_s = self._clock.monotonic(), call.limit_s or 0.0
        value = call.fn(*call.args)
        if self._clock.monotonic() - began > limit_s:
            raise _reached(attempt, attempt.current.step, limit_s)
        return value

    async def _wait(self, work: asyncio.Task[Ended], began: float, limit_s: float) -> None:
        """Wait until the work is done, or the limit is reached on the engine's clock."""
        clock = self._clock
        if not isinstance(clock, VirtualClock):
            await asyncio.wait([work], timeout=max(0.0, began + limit_s - clock.monotonic()))
            return
        over = asyncio.Event()

        def moved() -> None:
            if clock.monotonic() - began > limit_s:
                self._loop.call_soon_threadsafe(over.set)

        clock.subscribe(moved)
        expired = self._loop.create_task(over.wait())
        try:
            await asyncio.wait([work, expired], return_when=asyncio.FIRST_COMPLETED)
        finally:
            clock.unsubscribe(moved)
            expired.cancel()

    async def _end(self, work: asyncio.Task[Ended], attempt: SteppedAttempt, step: str) -> None:
        """Cancel async work; one that goes on is left behind and counted."""
        work.cancel()
        await end_of_cancelled([work])
        if not work.done():
            self._count(work, attempt, step)

    def _count(self, work: asyncio.Task[Ended], attempt: SteppedAttempt, step: str) -> None:
        self.lost += 1
        work.add_done_callback(partial(self._found, attempt, step))

    def _found(self, attempt: SteppedAttempt, step: str, work: asyncio.Task[Ended]) -> None:
        self.lost -= 1
        error = None if work.cancelled() else work.result()[0]
        if error is not None and not is_a(error, asyncio.CancelledError):
            run_log.late(attempt, error, step)


def _reached(attempt: SteppedAttempt, step: str, limit_s: float) -> TimedOut:
    """The failure of the call; the attempt can tell it from a TimedOut that user code raised."""
    attempt.overdue = TimedOut(f"{step}: it did not end within {limit_s:g} s")
    return attempt.overdue


async def _outcome(made: Awaitable[Any]) -> Ended:
    """The error or the value as a value: no exception of user code passes through the task itself, where some stop the loop."""
    try:
        return None, await made
    except BaseException as error:  # noqa: BLE001 - raised by the waiter
        return error, None
