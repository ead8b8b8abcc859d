"""Daemon threads for work that may block: as many as works that block at the same time, up to a limit, and one if none blocks.

One thread does all work that becomes ready together, without a thread switch: it runs this package's code until it begins what
may block, and only then another thread goes on with the rest. A thread that comes, or comes back, while another one runs leaves
the rest to that one: two would only take turns at the interpreter. So a batch of steps stays together, and is committed together.
The threads are daemons, because a step that never returns must not keep the process from ending.

The caller of a blocking engine that runs the loop itself does the work itself, too, instead of a thread (`LoopThread`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Literal, TypeVar

from stepflow.drivers.port.background import Guard, join
from stepflow.engine.lifetime import LINEAGE
from stepflow.engine.threads.caller_loop import CallerLoop
from stepflow.engine.threads.futures import running_loop
from stepflow.engine.threads.last_work import NONE, LastWork
from stepflow.engine.threads.raised import for_future
from stepflow.errors import StepflowError

T = TypeVar("T")
WATCH_S = 0.0001  # after which a thread that was woken looks again whether those that may block do
LONGEST_PAUSE_S = 1.0  # between two tries to start a thread
FORKED = 70  # exit code, EX_SOFTWARE of sysexits.h
# What Python 3.12.0 to 3.12.2 say when functions of `atexit` are called, one of which closes the engines that were left open.
AT_EXIT = "interpreter shutdown"
log = logging.getLogger("stepflow")


class ThreadPool:
    """Threads made when needed and kept until `close`; `steps` tells whether some of the work is pushed by `push_marked`.

    With `most` there are at most so many threads, and further work waits for one of them: no work may wait for other work.
    `last` is what work leaves to be done behind all that is ready.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        name: str,
        *,
        steps: bool = False,
        most: int | None = None,
        last: LastWork | None = None,
    ) -> None:
        self._loop, self._name, self._steps, self._most = loop, name, steps, most
        self._last: LastWork = NONE if last is None else last
        self._caller = loop.owner if isinstance(loop, CallerLoop) else None
        if self._caller is not None and steps:
            self._caller.use(self)
        self._forks = LINEAGE.forks
        self._lock = threading.Lock()
        self._ready: deque[Callable[[], None]] = deque()
        self._idle: list[threading.Lock] = []  # of parked threads; the last one parked is the first to be woken
        self._waking = False  # one thread at a time is woken for the ready work; it wakes the next one if work is left
        self._threads: list[threading.Thread] = []  # started so far
        self._idents: set[int] = set()  # of those that have begun
        # One entry for each thread that is neither parked nor in something that may block: it looks for work before it parks.
        self._running: list[None] = []
        self._returned = self._seen = 0  # how often something that may block has ended; as of when a thread was woken
        self._does_last = False  # a thread does the last work
        self._told: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()  # calls that the event loop is to make
        self._telling = False  # it will make them
        self._retrying = False  # a thread could not be started: the event loop tries again soon
        self._closed = False
        self.guard = Guard(name.removeprefix("stepflow-"), LONGEST_PAUSE_S)

    @property
    def busy(self) -> bool:
        """Whether its threads have work."""
        return bool(self._ready) or len(self._idle) < len(self._threads)

    def push(self, work: Callable[[], None]) -> None:
        """Let a thread call `work`; from any thread. Never raises, see `push_to_threads`. With `steps` as by `push_marked`.

        A caller that has the loop for itself does it instead: a step soon, other work now.
        """
        caller = self._caller
        if caller is None:
            self.push_to_threads(work)
        elif self._steps:
            if not caller.offer(work):
                self.push_marked(work)
        elif caller.may_block:
            self.do(work)
        else:
            self.push_to_threads(work)

    def push_to_threads(self, work: Callable[[], None]) -> None:
        """Let a thread call `work`; from any thread. Never raises: if no thread can be started now, one is started later."""
        self.push_marked(partial(self._do_blocking, work))

    def push_marked(self, work: Callable[[], None]) -> None:
        """The same for work that calls `begin_blocking` before what may block, and `end_blocking` after it."""
        self._ready.append(work)
        if not self._running:
            with self._lock:
                self._wake()

    def begin_blocking(self) -> None:
        """The calling thread, one of its own, may block from now on: another one does what is ready."""
        if not self._idle and not self._waking and self._has_work():
            with self._lock:
                self._wake()  # a start takes long: the new thread finds this one running, and parks
        self._running.pop()
        if not self._waking and not self._running and self._has_work():
            with self._lock:
                self._wake()

    def end_blocking(self) -> None:
        """The calling thread runs this package's code again, and does what is ready soon."""
        self._returned += 1
        self._running.append(None)

    def do(self, work: Callable[[], None]) -> None:
        """Call `work` in the calling thread."""
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - the thread does the next work; logged
            self._note(error)
        end_if_forked(self._forks)

    def _note(self, error: BaseException) -> None:
        with suppress(Exception):  # of a handler of the log: the thread must go on, or nothing else would run
            self.guard.note(error)

    def submit(self, fn: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Call `fn` as by `push`; must be called on the event loop, whose future is returned."""
        return self._submit(self.push, fn, *args)

    def submit_to_threads(self, fn: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Call `fn` in a thread: it may itself wait for the event loop; must be called on that."""
        return self._submit(self.push_to_threads, fn, *args)

    def _submit(
        self, push: Callable[[Callable[[], None]], None], fn: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self._loop.create_future()
        if self._closed:
            future.set_exception(StepflowError("the engine was closed meanwhile: open a new one"))
            return future

        def work() -> None:
            try:
                result = fn(*args)
            except BaseException as error:  # noqa: BLE001 - handed to the waiter
                self.fail(future, error)
            else:
                self.answer(future, result)

        push(work)
        return future

    def answer(self, future: asyncio.Future[Any], result: Any) -> None:
        """Give a future of the event loop its value; from any thread."""
        self._tell(_answer, future, result)

    def fail(self, future: asyncio.Future[Any], error: BaseException) -> None:
        """Give a future of the event loop its exception; from any thread."""
        self._tell(_fail, future, error)

    @property
    def caller_may_block(self) -> bool:
        """Whether the calling thread has the loop for its own call alone: it may write itself."""
        return self._caller is not None and self._caller.may_block

    @property
    def in_first_step(self) -> bool:
        """The same while no other task runs that may have something to write, too."""
        return self._caller is not None and self._caller.first_step and self._caller.may_block

    @property
    def has_caller(self) -> bool:
        """Whether it belongs to a blocking engine, whose callers may do the work themselves."""
        return self._caller is not None

    @property
    def is_own_thread(self) -> bool:
        """Whether the calling thread is one of its own, which does the last work."""
        return threading.get_ident() in self._idents

    def caller_goes_on(self) -> bool:
        """Whether the calling thread, which does a work that it was offered, may do the next work of the same kind at once."""
        return self._caller is not None and self._caller.goes_on()

    def _tell(self, fn: Callable[..., None], *args: Any) -> None:
        if running_loop() is self._loop:
            fn(*args)
            return
        if self._caller is not None and self._caller.do_between(fn, *args):
            return
        self._told.append((fn, args))
        if not self._telling:  # else these calls go together: each wake-up of the loop interrupts this thread
            self._telling = True
            with suppress(RuntimeError):  # the loop was closed: no task waits
                self._loop.call_soon_threadsafe(self._tell_all)

    def _tell_all(self) -> None:
        """Make the calls that the event loop is to make."""
        self._telling, told = False, self._told
        try:
            while told:
                fn, args = told.popleft()
                fn(*args)
        finally:
            if told:
                self._loop.call_soon(self._tell_all)

    def later(self, delay_s: float, work: Callable[[], None]) -> None:
        """Call `work` on the event loop after so many seconds; from any thread."""
        with suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(self._loop.call_later, delay_s, work)

    def close(self) -> None:
        """End the idle threads; one that a step keeps busy ends after it."""
        with self._lock:
            self._closed, busy = True, self.busy
            while self._idle:
                self._idle.pop().release()
        if not self._steps or not busy:
            for thread in self._threads:
                if thread is not threading.current_thread():
                    join(thread)

    def _has_work(self) -> bool:
        return bool(self._ready) or (self._last.waits and not self._does_last)

    def _wake(self) -> None:
        """Let one more thread look for work; the caller holds the lock."""
        if self._waking or self._closed:
            return
        self._waking, self._seen = True, self._returned
        if self._idle:
            self._idle.pop().release()
        else:
            self._start()

    def _start(self) -> None:
        """Start a thread unless there are enough. If the system refuses it, try again later; one that ends its step may come first."""
        if self._retrying or len(self._threads) == self._most:
            self._waking = False
            self._last.hand_over()
            return
        thread = threading.Thread(target=self._run, name=f"{self._name}-{len(self._threads) + 1}", daemon=True)
        try:
            thread.start()
        except Exception as error:  # noqa: BLE001 - RuntimeError at the limit of threads, MemoryError; logged
            self._waking, self._retrying = False, True
            self._last.hand_over()
            if AT_EXIT not in str(error):
                self.later(self.guard.failed(error), self._retry)
        else:
            self._threads.append(thread)

    def _retry(self) -> None:
        with self._lock:
            self._retrying = False
            if self._ready:
                self._wake()
            if not self._retrying:
                self.guard.succeeded()

    def _run(self) -> None:
        parked = threading.Lock()
        parked.acquire()
        self._idents.add(threading.get_ident())
        came = True  # by a wake, of which there is one at a time
        while (found := self._look(parked, came)) != "end":
            if found == "work":
                if came and self._last.waits and not self._does_last:  # before what is ready, which may not end soon
                    self._do_last()
                self._do_ready()
            elif found == "nothing":
                parked.acquire()
            else:
                time.sleep(WATCH_S)
            came = found != "work"
        self._idents.discard(threading.get_ident())
        if self._last.waits:
            self._last.hand_over()

    def _look(self, parked: threading.Lock, came: bool) -> Literal["work", "nothing", "quick", "end"]:
        """What there is for a thread that has come, or that another one shall take the place of."""
        with self._lock:
            if came:  # before it looks at what runs: a thread that begins to block after that look wakes another one
                self._waking = False
            else:
                self._running.pop()
            if self._closed and (self._steps or self._running or not self._ready):
                return "end"
            if self._running or not self._has_work():
                self._idle.append(parked)
                return "nothing"
            if came and self._returned != self._seen:  # what another one calls is quick: it is not kept from its work
                self._waking, self._seen = True, self._returned
                return "quick"
            self._running.append(None)
            return "work"

    def _do_ready(self) -> None:
        """Do what is ready, and the last work behind it, until nothing is left or another thread runs, too."""
        ready, running, last, forks = self._ready, self._running, self._last, self._forks
        while len(running) == 1 and not (self._closed and self._steps):
            try:
                work = ready.popleft()
            except IndexError:
                if not last.waits or self._does_last:
                    return
                work = self._do_last
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - the thread does the next work; logged
                self._note(error)
            if LINEAGE.forks != forks:
                end_if_forked(forks)

    def _do_last(self) -> None:
        self._does_last = True
        self._last.do(self)
        self._does_last = False

    def _do_blocking(self, work: Callable[[], None]) -> None:
        self.begin_blocking()
        try:
            work()
        finally:
            self.end_blocking()


def end_if_forked(forks: int) -> None:
    """End this process at once if it is a child that a step forked: it must not go on as a second, lockless worker.

    `forks` is `LINEAGE.forks` as of when the work began.
    """
    if LINEAGE.forks != forks:
        log.critical("a step forked, and its child process returned from the step: end the child with os._exit()")
        os._exit(FORKED)


def _answer(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():  # else its waiter was cancelled
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(for_future(error))
