"""DeferredSignals: while a caller runs an event loop, signal handlers are called only where what they raise does no harm."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # what `signal` wraps to make enums of numbers: 2 instead of 50 us per call
import inspect
import math
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from stepflow.engine.clock import SystemClock

DEFERRED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2)

SECOND_SIGNAL_S = 0.5  # after which the same signal for the second time is handled at once
_clock = SystemClock()


class Interruption(KeyboardInterrupt):
    """A signal handler interrupted a step: no error of the step, and no crash."""


class _UserCode(threading.local):
    """Whether user code is being called in this thread: then signal handlers may interrupt it at any point.

    `interruption` is what a handler raised there last: no error of the user code.
    """

    running = False
    waits = False
    interruption: BaseException | None = None
    late: Callable[[], None] | None = None  # handles signals that came just before

    def begin(self) -> None:
        """User code is called now; a handler that waits is called before that, and may raise."""
        self.running = True
        if self.late is not None:
            late, self.late = self.late, None
            late()

    def end(self) -> None:
        """It has returned, or raised."""
        self.running = self.waits = False

    def postpone(self, late: Callable[[], None]) -> None:
        """A signal came outside of user code: call `late` when user code is called, unless it was handled before."""
        self.late = late

    def wait(self) -> None:
        """This thread only waits now: a handler may interrupt that once."""
        self.waits = True
        self.begin()

    def suspend(self) -> bool:
        """Code of this package runs now, perhaps inside of a step of another engine; returns what to give to `resume`."""
        before, self.running, self.interruption = self.running, False, None
        return before

    def resume(self, before: bool) -> None:
        """Undo `suspend`."""
        self.running = before

    def interrupted(self, error: BaseException) -> None:
        """A signal handler raised this."""
        self.interruption = error
        if self.waits:
            self.running = self.waits = False


user_code = _UserCode()


class DeferredSignals:
    """In the main thread, from `defer` to `restore`, a handler is called by `handle`, or at once inside of user code.

    `wake` is called when a signal waits to be handled.
    """

    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake
        self._handlers: dict[int, Any] = {}  # of the program
        self._came: dict[int, float] = {}  # signals that wait, and since when
        self._deferred = False

    def defer(self) -> bool:
        """Begin; False if that was done already, and outside of the main thread, where no handler is ever called."""
        if self._deferred or threading.current_thread() is not threading.main_thread():
            return False
        self._deferred = True
        try:
            for number in DEFERRED:
                if callable(handler := _signal.getsignal(number)) and handler != self._on_signal:
                    self._handlers[number] = handler
                    _signal.signal(number, self._on_signal)
        except BaseException:  # a handler that is not replaced yet was called
            self.restore()
            raise
        return True

    def restore(self) -> None:
        """End; the handlers of signals that wait are called now."""
        try:
            while self._handlers:
                number, handler = next(iter(self._handlers.items()))
                if _signal.getsignal(number) == self._on_signal:  # else a step has set another one
                    _signal.signal(number, handler)
                self._handlers.pop(number, None)
        except BaseException:  # a handler that is in place again was called
            self.restore()
            raise
        self._deferred = False
        while self._came:
            signal.raise_signal(self._came.popitem()[0])

    @property
    def came(self) -> bool:
        """Whether signals wait to be handled."""
        return bool(self._came)

    def handle(self) -> None:
        """Call the handlers of the signals that wait."""
        while self._came and threading.current_thread() is threading.main_thread():
            number, _since = self._came.popitem()
            self._handlers[number](number, inspect.currentframe())

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if user_code.running:
            self._interrupt(number, frame)
        elif (
            _clock.monotonic() - self._came.get(number, math.inf) > SECOND_SIGNAL_S
        ):  # perhaps an async step does not end
            self._handlers[number](number, frame)
        else:
            self._came.setdefault(number, _clock.monotonic())
            user_code.postpone(self._interrupt_late)
            self._wake()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Call the handler inside of user code."""
        try:
            self._handlers[number](number, frame)
        except BaseException as error:
            user_code.interrupted(error)
            raise

    def _interrupt_late(self) -> None:
        while self._came:
            number, _since = self._came.popitem()
            self._interrupt(number, inspect.currentframe())
