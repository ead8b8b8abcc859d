"""Notifier: wakes the tasks of one engine that wait for a run."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable


class Notifier:
    """Wakes the tasks that wait for a run; lives on the event loop. `on_expect` is called before every wait."""

    def __init__(self, on_expect: Callable[[], None]) -> None:
        self._on_expect = on_expect
        self._waiters: dict[str, list[asyncio.Future[None]]] = defaultdict(list)

    def expect(self, run_id: str) -> asyncio.Future[None]:
        """A future that is done as soon as something may have happened to the run."""
        self._on_expect()
        future = asyncio.get_running_loop().create_future()
        self._waiters[run_id].append(future)
        return future

    def forget(self, run_id: str, future: asyncio.Future[None]) -> None:
        """Nobody waits for this future any more."""
        if future in (futures := self._waiters.get(run_id, [])):
            futures.remove(future)
            if not futures:
                del self._waiters[run_id]

    def notify(self, run_id: str) -> None:
        """Something happened to this run."""
        for future in self._waiters.pop(run_id, ()):
            if not future.done():
                future.set_result(None)

    def notify_all(self) -> None:
        """Something happened, nobody knows to which run."""
        for run_id in list(self._waiters):
            self.notify(run_id)
