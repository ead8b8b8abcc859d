"""The event loop of a blocking engine: the calling thread runs it as long as one thread alone calls, else a thread of its own.

The first step of a call's task is made before the loop runs: most calls wait for nothing, and need no more. Else a call
alternates between two phases in the calling thread. In the loop phase the event loop runs; it ends when the call's task is done,
or when a sync step is offered. In the work phase the loop does not run, and the caller calls the step. In all of them it reads
and writes the store itself. So a program with one thread pays for no thread switch, and all decisions are still made on the loop.

The loop is handed to the thread `stepflow-loop` when another thread calls, when the caller calls from inside a step, when
tasks are left at the end of a call (`worker()`), when a step lasts longer than TICK_S, and after Ctrl-C. It is handed back when no call
waits and no task is left.

In the main thread a signal handler may raise an exception anywhere. During a call handlers run between two phases, or at once inside
a step and while the call waits for the thread; never in the middle of a transaction, or while the loop is handed over.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, TypeVar

from stepflow.drivers.port.background import JOIN_S, join, start_thread
from stepflow.engine.clock import SystemClock
from stepflow.engine.lifetime import CLOSED
from stepflow.engine.threads.caller_loop import CANCELLED, CLOSED_MEANWHILE, CallerLoop, FirstStep, StepThreads
from stepflow.engine.threads.deferred_signals import DeferredSignals, user_code
from stepflow.engine.threads.futures import Ending, answer_of, future_of, running_loop, uninterrupted, value_of
from stepflow.engine.threads.hidden_loop import HiddenLoop, hidden_loop, run_inline
from stepflow.errors import StepflowError

T = TypeVar("T")
log = logging.getLogger("stepflow")
TICK_S = 0.02  # a step that lasts longer gives the loop to the thread
TICKS = 50  # without a call, after which the thread stops to look
WORK_S = 0.02  # after which the loop runs again between two steps of the caller: three or four times as long as ten steps take
TURN_S = 0.05  # after which it runs again although the calls need no more than their first steps: timers may be due
NO_WAIT_IN_STEP = "a step cannot wait for other runs in virtual time: nothing else moves while it runs"
_clock = SystemClock()
in_sync_step: ContextVar[bool] = ContextVar("stepflow_in_sync_step", default=False)  # set by virtual time


class LoopThread:
    """Runs coroutines of any thread on one event loop; `call` blocks the calling thread until the coroutine is done."""

    def __init__(self) -> None:
        self._pid, self._closing, self.why = os.getpid(), False, CLOSED  # what calls raise once it is closing
        self._changed = threading.Condition(threading.Lock())
        self._loop = CallerLoop(self)
        self._thread: threading.Thread | None = None
        self._caller = 0  # the thread whose call runs the loop, or works for it; 0: none
        self._runs = False  # some thread runs the loop, or makes a first step
        self.first_step = False  # the calling thread makes one: no other task can have something to do together with it
        self._threaded = False  # the loop is, or is about to be, run by the thread
        self._awaited: set[Future[Any]] = set()  # of the calls that wait for the thread
        self._steps: StepThreads | None = None
        self._work: list[Callable[[], None]] = []  # steps that were offered to the caller
        self._turns, self._until = 0, 0.0  # phases of callers so far; monotonic time of the end of a work phase
        self._ran = 0.0  # monotonic time when a caller ran the loop last
        self._parked = False  # the thread waits to be woken
        self._signals = DeferredSignals(lambda: self._loop.call_soon_threadsafe(self._loop.stop))

    @property
    def forked(self) -> bool:
        """Whether this is a child process of the one that opened the engine."""
        return os.getpid() != self._pid

    def end(self, why: str) -> None:
        """The loop cannot run any more: every call, of now and later, raises this; from any thread, which may hold `_changed`."""
        if not self._closing:  # else it is `close` that has closed the loop's descriptors
            self.why, self._closing = why, True
        for future in list(self._awaited):
            with suppress(InvalidStateError):  # it is done
                future.set_exception(StepflowError(self.why))

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result; StepflowError on the loop's own thread and after fork, where it could never come.

        A sync step in virtual time is on the loop's thread too, but there nothing has to be waited for.
        """
        here = running_loop()
        if self._loop in (here, hidden_loop()) and in_sync_step.get():
            return run_inline(work, NO_WAIT_IN_STEP)
        user = user_code.suspend()
        deferred = self._signals.defer()
        try:
            future = self._begin(work, here)
            return self._drive(work) if future is None else self._follow(work, future)
        finally:
            user_code.resume(user)
            if deferred:
                self._signals.restore()

    def _begin(self, work: Coroutine[Any, Any, T], here: asyncio.AbstractEventLoop | None) -> Future[Ending[T]] | None:
        """Give the work to the thread; None if the caller shall run the loop itself."""
        try:
            if self.forked:
                raise StepflowError("the engine was opened before fork: open one in each process")
            if here is self._loop:
                raise StepflowError(
                    "a sync Engine was called from an async step on its own loop: use a sync step, or AsyncEngine"
                )
            alone = here is None
            with self._changed:
                while alone and self._runs and not (self._threaded or self._caller or self._closing):
                    self._changed.wait()  # the thread is about to leave the loop
                if self._closing:
                    raise StepflowError(self.why)
                if alone and not self._threaded and not self._caller:
                    self._caller = threading.get_ident()
                    return None
                self._hand_over()
                future = future_of(lambda: self._loop.begin_call(uninterrupted(work)), self._loop)
                self._awaited.add(future)
                return future
        except BaseException:
            work.close()
            raise

    def run_soon(self, fn: Any, *args: Any) -> None:
        """Call `fn` on the loop; while no call runs it, at the beginning of the next call."""
        self._loop.call_soon_threadsafe(fn, *args)

    def use(self, steps: StepThreads) -> None:
        """These threads get the steps that callers cannot do themselves."""
        self._steps = steps

    def offer(self, work: Callable[[], None]) -> bool:
        """Whether the calling thread has the loop for its own call: then it calls the step soon."""
        if self._caller != threading.get_ident() or self._threaded:
            return False
        self._work.append(work)
        if self._runs:
            self._loop.stop()
        return True

    def goes_on(self) -> bool:
        """Whether the calling thread, which makes a step that it was offered, makes the next one of the same run at once."""
        busy = self._steps is not None and self._steps.busy
        if busy or self._threaded or self._work or self._signals.came or _clock.monotonic() > self._until:
            return False
        self._turns += 1
        return True

    def do_between(self, fn: Callable[..., None], *args: Any) -> bool:
        """Whether the calling thread has the loop, which does not run now: then `fn`, which belongs to the loop, was called."""
        if self._caller != threading.get_ident():
            return False
        with self._changed:
            if self._threaded or self._runs:
                return False
            fn(*args)
        return True

    @property
    def may_block(self) -> bool:
        """Whether the calling thread has the loop for its own call alone, without steps in threads: it may block."""
        if self._caller != threading.get_ident() or self._threaded:
            return False
        return self._steps is None or not self._steps.busy

    def close(self) -> None:
        """Cancel what is left and end the loop."""
        with self._changed:
            self._closing = True
            if self._runs:
                self._loop.call_soon_threadsafe(self._loop.stop)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._caller in (0, threading.get_ident()), JOIN_S)
            thread = self._thread
        if thread is not None and not join(thread):
            return
        if running_loop() is None:
            self._end()
        else:  # another loop runs in this thread
            try:
                join(start_thread(self._end, "stepflow-loop-end", "the end of the event loop of this engine"))
            except StepflowError:
                with HiddenLoop():
                    self._end()

    def _end(self) -> None:
        """Run the loop once more, in this thread."""
        if self.why != CLOSED:
            return
        loop = self._loop
        task = loop.create_task(loop.finish())
        task.add_done_callback(self._stop)
        while not task.done():  # earlier requests to stop may be left
            loop.run_forever()
        loop.close()
        with self._changed:
            for future in self._awaited:  # of tasks that go on although they were cancelled
                if not future.done():
                    future.set_exception(CancelledError())

    def _drive(self, work: Coroutine[Any, Any, T]) -> T:
        """Run the loop in this thread until the work is done, or until the loop is handed over."""
        try:
            task, first_step = self._loop.begin(uninterrupted(work))
        except BaseException:
            self._caller = 0
            raise
        broken = True
        try:
            self._make_first_step(task, first_step)
            while not task.done() and self._run_loop():
                self._do_work()
            if task.done() and _clock.monotonic() - self._ran > TURN_S:
                self._loop.stop()  # after one turn
                self._run_loop()
            broken = False
        finally:
            future = self._leave(task, broken)
        try:
            if future is not None:
                return self._follow(work, future)
            if task.cancelled():
                raise StepflowError(CLOSED_MEANWHILE if self._closing else CANCELLED)
            return value_of(task.result())
        except KeyboardInterrupt:
            if user_code.interruption is not None:
                raise user_code.interruption from None
            raise

    def _stop(self, _task: asyncio.Task[Any]) -> None:
        self._loop.stop()

    def _make_first_step(self, task: asyncio.Task[Any], step: FirstStep) -> None:
        self.first_step = True
        try:
            handed_over = not self._run_phase(step.make)
        finally:
            self.first_step = False
        if handed_over:
            step.schedule()
        if not task.done():
            task.add_done_callback(self._stop)
        if self._work:
            self._loop.stop()  # after one turn

    def _run_loop(self) -> bool:
        """A loop phase; False if the loop was handed over, or is being closed."""
        if self.why != CLOSED:
            raise StepflowError(self.why)
        ran = self._run_phase(self._loop.run_forever)
        self._ran = _clock.monotonic()
        return ran

    def _run_phase(self, phase: Callable[[], None]) -> bool:
        """Run the loop, or a first step; False if the loop was handed over, or is being closed."""
        with self._changed:
            if self._threaded or self._closing:
                return False
            self._runs = True
            self._turns += 1
        try:
            phase()
        finally:
            with self._changed:
                self._runs = False
                if self._threaded:
                    self._changed.notify_all()
        self._signals.handle()
        return True

    def _do_work(self) -> None:
        """A work phase. Several steps, or a step beside others, go to threads."""
        work, steps, self._until = self._work, self._steps, _clock.monotonic() + WORK_S
        while work and steps is not None and _clock.monotonic() <= self._until:
            if self._threaded or len(work) > 1 or steps.busy:
                self._push_to_threads()
                return
            self._watch()
            self._turns += 1
            steps.do(work.pop())
            self._signals.handle()
        if work:
            self._loop.stop()  # after one turn

    def _push_to_threads(self) -> None:
        while self._work and self._steps is not None:
            self._steps.push_marked(self._work.pop(0))

    def _leave(self, task: asyncio.Task[Ending[T]], broken: bool) -> Future[Ending[T]] | None:
        """The caller does no more for the loop; returns what its task gives if the thread advances that from now on.

        If the caller was interrupted (`broken`) the thread cancels its task.
        """
        with self._changed:
            self._caller, future = 0, None
            if broken and not task.done():
                self._loop.call_soon_threadsafe(asyncio.Task.cancel, task)
            if not self._closing and not self._threaded and self._loop.has_tasks(task):
                with suppress(StepflowError):  # no thread can be started: the tasks go on with the next call
                    self._hand_over()
            if not broken and not task.done():
                future = future_of(lambda: task, self._loop)
                self._awaited.add(future)
            if self._closing:
                self._changed.notify_all()
        self._push_to_threads()
        if future is None:
            self._take_back_soon()
        return future

    def _follow(self, work: Coroutine[Any, Any, T], future: Future[Ending[T]]) -> T:
        """Wait until the thread has done the work, or a signal handler raises."""
        try:
            user_code.wait()
            outcome = answer_of(future)
            user_code.end()
            return value_of(outcome)
        except CancelledError:
            work.close()  # it may not have begun
            raise StepflowError(CLOSED_MEANWHILE if self._closing else CANCELLED) from None
        except BaseException:
            future.cancel()
            raise
        finally:
            user_code.end()
            with self._changed:
                self._awaited.discard(future)
            self._take_back_soon()

    def _hand_over(self) -> None:
        """Let the thread run the loop; with `_changed` held. StepflowError if the system gives no thread."""
        if self._threaded:
            return
        if self._thread is None:
            self._start()
        self._threaded, self._parked = True, False
        if self._runs:
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._changed.notify_all()

    def _take_back_soon(self) -> None:
        if self._threaded and not self._awaited and not self._caller:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._take_back)

    def _take_back(self) -> None:
        """End the thread's turn if it has nothing to do; on the loop."""
        with self._changed:
            if self._threaded and not self._awaited and not self._caller and not asyncio.all_tasks(self._loop):
                self._threaded = False
                self._loop.stop()

    def _watch(self) -> None:
        """The caller begins a step: let the thread see how long it lasts."""
        if self._thread is None or self._parked:
            with self._changed, suppress(StepflowError):  # if no thread can be started the step keeps the loop
                self._parked = False
                self._changed.notify_all()
                if self._thread is None:
                    self._start()

    def _start(self) -> None:
        self._thread = start_thread(self._run, "stepflow-loop", "the event loop of this engine")

    def _run(self) -> None:
        """The thread: run the loop when it is handed over; else look whether the caller's step lasts."""
        asyncio.set_event_loop(self._loop)
        idle = 0
        while True:
            with self._changed:
                while not self._threaded or self._runs:
                    if self._closing:
                        return
                    idle = 0 if self._caller else idle + 1
                    self._parked = idle > TICKS
                    turn = self._turns
                    self._changed.wait(None if self._parked else TICK_S)
                    if self._parked:
                        idle = 0
                    elif self._caller and not self._runs and turn == self._turns:
                        self._threaded = True
                if self._closing:
                    return
                self._runs = True
            try:
                self._loop.run_forever()
            except BaseException:
                log.exception("the event loop of a blocking engine was interrupted, and goes on")
            finally:
                with self._changed:
                    self._runs = False
                    self._changed.notify_all()
