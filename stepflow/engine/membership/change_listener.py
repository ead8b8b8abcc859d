"""ChangeListener: a thread that waits for changes of the store by other processes and engines."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from stepflow.drivers.port.store import Store
from stepflow.errors import StoreError

SLICE_S = 0.5  # a poll of the store ends at least so often, so that `close` is quick


class ChangeListener:
    """Calls `on_change` on the loop, from a daemon thread, when another process or engine changed the store."""

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        self._store, self._loop = store, loop
        self._stop = threading.Event()
        self._guard = threading.Lock()  # the loop may start the thread while another thread closes the engine
        self._thread: threading.Thread | None = None

    def start(self, on_change: Callable[[], None]) -> None:
        """Start the thread; does nothing if it runs already, or was stopped."""
        with self._guard:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(
                    target=self._run, args=(on_change,), name="stepflow-changes", daemon=True
                )
                self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; its wait ends with the store's session, or after SLICE_S seconds."""
        self._stop.set()

    def join(self) -> None:
        """Wait for the thread's end."""
        with self._guard:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self, on_change: Callable[[], None]) -> None:
        token = 0
        while not self._stop.is_set():
            try:
                seen = self._store.wait_for_change(token, SLICE_S)
            except StoreError:
                self._stop.wait(SLICE_S)
                continue
            if seen != token:
                token = seen
                with suppress(RuntimeError):  # the loop was closed
                    self._loop.call_soon_threadsafe(on_change)
