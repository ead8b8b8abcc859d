"""The hand-written part of Engine: constructor, `with`, the worker and signals; one thread runs the engine's event loop."""

from __future__ import annotations

import atexit
import logging
import signal
import threading
import weakref
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import timedelta
from types import EllipsisType, TracebackType
from typing import Any, Self, TypeVar

from stepflow.drivers.payload.stages import Stage
from stepflow.drivers.port.store import Driver
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.blocking.base import ForwardCall
from stepflow.engine.blocking.flow_engine import FlowEngine
from stepflow.engine.blocking.run import Run
from stepflow.engine.checks import DEFAULT_KEEP
from stepflow.engine.client.run import AsyncRun
from stepflow.engine.clock import Clock
from stepflow.engine.instrument.telemetry import OpenTelemetry
from stepflow.engine.lifetime import CLOSED, NOT_OPEN, BlockingWith
from stepflow.engine.remote.caller import FlowCaller
from stepflow.engine.threads.loop_thread import LoopThread
from stepflow.errors import StepflowError
from stepflow.model.flow import Flow
from stepflow.model.keywords import keywords

E = TypeVar("E")
T = TypeVar("T")
log = logging.getLogger("stepflow")


class _CalledFromThreads(AsyncEngine):
    _any_loop = True

    def check_outside(self, call: str) -> None:
        """Raise StepflowError inside a step of this engine."""
        self._session.check_outside(call)

    def abandon(self) -> None:
        """The loop is gone: show no life any more, so that others take over what is held."""
        self._session.heartbeat.stop()


@keywords(url="give the store first, e.g. Engine('sqlite:///orders.db')")
class EngineBase(BlockingWith, FlowEngine):
    """What of Engine is no forwarding method."""

    def __init__(
        self,
        store: str | Driver,
        *,
        clock: Clock | None = None,
        namespace: str = "",
        concurrency: int = 64,
        keep: timedelta | None = DEFAULT_KEEP,
        keep_ids: timedelta | None = None,
        retention: timedelta | EllipsisType | None = ...,
        payload: Sequence[Stage] | None = None,
        remote: FlowCaller | None = None,
        instrument: OpenTelemetry | bool | None = None,
    ) -> None:
        self._engine = _CalledFromThreads(
            store,
            clock=clock,
            namespace=namespace,
            concurrency=concurrency,
            keep=keep,
            keep_ids=keep_ids,
            retention=retention,
            payload=payload,
            remote=remote,
            instrument=instrument,
            commit_on_loop=True,  # the loop is this engine's own
        )
        super().__init__(self._engine, self._call_on_loop)
        self._open_loop_thread: LoopThread | None = None
        self._was_open = False

    @property
    def _loop_thread(self) -> LoopThread:
        if self._open_loop_thread is None:
            raise StepflowError(CLOSED if self._was_open else NOT_OPEN)
        return self._open_loop_thread

    def _call_on_loop(self, work: Coroutine[Any, Any, T], /) -> T:
        try:
            loop_thread = self._loop_thread
        except StepflowError:
            work.close()
            raise
        return loop_thread.call(work)

    def _blocking_run(self, run: AsyncRun[E]) -> Run[E]:
        return Run(run, self._loop_thread.call)

    def open(self) -> Self:
        """Connect to the store and return this engine; for programs that cannot use `with`, such as notebooks.

        Call `close` at the end; an engine that is open when the interpreter exits is closed then.
        """
        return self.__enter__()

    def close(self) -> None:
        """Release what is held and end all threads; steps that have begun get ten seconds. Closing twice does nothing.

        Raises StepflowError inside a step of this engine, whose end it would wait for.
        """
        self.__exit__(None, None, None)

    def __enter__(self) -> Self:
        if self._open_loop_thread is not None:
            raise StepflowError("this engine is open already: make another Engine for a second session")
        loop_thread = LoopThread()
        try:
            loop_thread.call(self._engine.__aenter__())
        except BaseException:
            loop_thread.close()
            raise
        self._open_loop_thread = loop_thread
        _open_engines.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop_thread = self._open_loop_thread
        if loop_thread is None or loop_thread.forked:  # the parent's threads and locks are not ours
            return
        self._engine.check_outside("close()")
        try:
            loop_thread.call(self._engine.__aexit__(kind, error, trace))
        finally:
            loop_thread.close()
            if loop_thread.why != CLOSED:
                self._engine.abandon()
            self._open_loop_thread, self._was_open = None, True
            _open_engines.discard(self)

    def register(self, *flows: Flow[Any, Any]) -> None:
        """This process advances the runs of these flows."""
        if self._open_loop_thread is None:
            self._engine.register(*flows)
        else:
            self._loop_thread.call(_later(self._engine.register, *flows))

    def run_forever(self) -> None:
        """Advance runs until SIGTERM or SIGINT; then release what is held."""
        loop_thread, asked = self._loop_thread, threading.Event()
        before: dict[signal.Signals, Any] = {}

        working = False

        def end() -> None:
            if working:  # else the request comes after the work, and must not end what this engine does next
                self._engine.quit()

        def stop(*_: object) -> None:
            asked.set()
            loop_thread.run_soon(end)

        async def work() -> None:
            nonlocal working
            if not asked.is_set():  # else the work begins after the request to end it
                working = True
                try:
                    await self._engine.run_forever()
                finally:
                    working = False

        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGTERM, signal.SIGINT):
                before[signum] = signal.signal(signum, stop)
        try:
            loop_thread.call(work())
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def quit(self) -> None:
        """Let `run_forever`, running in another thread, release what it holds and return."""
        self._loop_thread.run_soon(self._engine.quit)

    def worker(self) -> AbstractContextManager[None]:
        """`with engine.worker():` advances runs in the background meanwhile, at the latest until the engine is closed."""
        return BackgroundWorker(self._engine.worker(), self._call_on_loop, lambda: self._open_loop_thread is not None)


class BackgroundWorker(BlockingWith):
    """What `worker` returns."""

    def __init__(
        self, worker: AbstractAsyncContextManager[None], call: ForwardCall, is_open: Callable[[], bool]
    ) -> None:
        self._worker, self._call, self._is_open = worker, call, is_open

    def __enter__(self) -> None:
        self._call(self._worker.__aenter__())

    def __exit__(self, *_error: object) -> None:
        if self._is_open():  # else the close ended it
            self._call(self._worker.__aexit__(None, None, None))


_open_engines: weakref.WeakSet[EngineBase] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """At the end of the interpreter its threads are still there; the engines of a parent process are none of ours."""
    for engine in list(_open_engines):
        try:
            engine.close()
        except Exception:
            log.exception("an engine that was left open cannot be closed at exit")


async def _later(fn: Any, *args: Any) -> None:
    fn(*args)
