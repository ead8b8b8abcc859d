"""ChangeSignal: wakes what waits for changes of a store, in one engine of the server."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class ChangeSignal:
    """Counts the news of possible changes; lives on the event loop. After `stop` no wait lasts."""

    def __init__(self) -> None:
        self.version = 0
        self._stopped = False
        self._changed: asyncio.Future[None] | None = None

    def notify(self) -> None:
        """The store may have changed."""
        self.version += 1
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def stop(self) -> None:
        """End all waits, those that begin later too."""
        self._stopped = True
        self.notify()

    async def wait(self, seen: int, timeout_s: float) -> None:
        """Wait until the version is no longer `seen`, for `timeout_s` at most."""
        if self.version != seen or self._stopped:
            return
        if self._changed is None or self._changed.done():
            self._changed = asyncio.get_running_loop().create_future()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(self._changed)
