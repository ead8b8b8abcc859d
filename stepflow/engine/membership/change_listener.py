"""ChangeListener: a thread that waits for changes of the store by other processes and engines."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from stepflow.drivers.port.background import Guard, join, start_thread
from stepflow.drivers.port.store import Store
from stepflow.errors import StepflowError

SLICE_S = 0.5  # a poll of the store ends at least so often, so that `close` is quick


class ChangeListener:
    """Calls `on_change` on the loop, from a daemon thread, when another process or engine changed the store.

    The thread pauses while no part of the engine `needs` it: each commit of this engine would wake it.
    """

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        self._store, self._loop = store, loop
        self._stop, self._wake = threading.Event(), threading.Event()
        self._needs: list[Callable[[], bool]] = []
        self._lock = threading.Lock()  # the loop may start the thread while another thread closes the engine
        self.guard = Guard("changes")
        self._thread: threading.Thread | None = None
        self._retry: asyncio.TimerHandle | None = None

    def needs(self, need: Callable[[], bool]) -> None:
        """Listen, once started, while `need` returns true; asked in the thread. A part whose need begins calls `start`."""
        self._needs.append(need)

    def start(self, on_change: Callable[[], None]) -> None:
        """Start the thread, or wake it if it pauses; does nothing if it was stopped.

        If the system refuses the thread, this is called again after a pause: until then only polls find changes.
        """
        self._wake.set()
        with self._lock:
            if self._thread is None and self._retry is None and not self._stop.is_set():
                try:
                    self._thread = start_thread(partial(self._run, on_change), "stepflow-changes", "news of the store")
                except StepflowError as error:
                    self._retry = self._loop.call_later(self.guard.failed(error), self._start_again, on_change)

    def _start_again(self, on_change: Callable[[], None]) -> None:
        self._retry = None
        self.start(on_change)

    def stop(self) -> None:
        """Ask the thread to end; its wait ends with the store's session, or after SLICE_S seconds."""
        self._stop.set()
        self._wake.set()

    def join(self) -> None:
        """Wait for the thread's end."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            join(thread)

    def _run(self, on_change: Callable[[], None]) -> None:
        token = 0

        def turn() -> bool:
            nonlocal token
            self._wake.clear()  # before the question: a need that begins after it sets the event
            if self._stop.is_set():
                return False
            if not any(need() for need in self._needs):
                self._wake.wait()
                return True
            seen = self._store.wait_for_change(token, SLICE_S)
            if seen != token:
                token = seen
                with suppress(RuntimeError):  # the loop was closed
                    self._loop.call_soon_threadsafe(on_change)
            return True

        self.guard.run(turn, self._stop.wait)
