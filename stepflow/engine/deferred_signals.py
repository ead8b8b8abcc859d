"""DeferredSignals: while a caller runs an event loop, signal handlers are called only where what they raise does no harm."""

from __future__ import annotations

import inspect
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

DEFERRED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2)


class _UserCode(threading.local):
    """Whether user code is being called in this thread: then signal handlers may interrupt it at any point.

    `interruption` is what a handler raised there last: no error of the user code.
    """

    running = False
    interruption: BaseException | None = None

    def begin(self) -> None:
        """User code is called now."""
        self.running = True

    def end(self) -> None:
        """It has returned, or raised."""
        self.running = False

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


user_code = _UserCode()


class DeferredSignals:
    """In the main thread, from `defer` to `restore`, a handler is called by `handle`, or at once inside of user code.

    `wake` is called when a signal waits to be handled.
    """

    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake
        self._handlers: dict[int, Any] = {}  # of the program
        self._came: list[int] = []

    def defer(self) -> None:
        """Begin; does nothing outside of the main thread, where no handler is ever called."""
        if threading.current_thread() is threading.main_thread():
            for number in DEFERRED:
                if callable(handler := signal.getsignal(number)):
                    self._handlers[number] = handler
                    signal.signal(number, self._on_signal)

    def restore(self) -> None:
        """End; the handlers of signals that wait are called now."""
        while self._handlers:
            number, handler = self._handlers.popitem()
            if signal.getsignal(number) == self._on_signal:  # else a step has set another one
                signal.signal(number, handler)
        while self._came:
            signal.raise_signal(self._came.pop())

    def handle(self) -> None:
        """Call the handlers of the signals that wait."""
        while self._came:
            number = self._came.pop()
            self._handlers[number](number, inspect.currentframe())

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        handler = self._handlers[number]
        if user_code.running:
            try:
                handler(number, frame)
            except BaseException as error:
                user_code.interrupted(error)
                raise
        elif number in self._came:  # for the second time: perhaps an async step does not end
            handler(number, frame)
        else:
            self._came.append(number)
            self._wake()
