"""Retention: prunes runs that ended long ago, in small transactions, while a worker is at work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from stepflow.drivers.port.background import Guard
from stepflow.drivers.port.store import Maintenance
from stepflow.engine.clock import Clock, microseconds

EVERY_S = 3600.0
CHUNK = 500  # runs per transaction, so that other writers wait only briefly


class Pruner:
    """Prunes the runs of one namespace; `keep` None keeps everything."""

    def __init__(
        self, maintenance: Callable[[str], Maintenance], namespace: str, clock: Clock, keep: timedelta | None
    ) -> None:
        self._maintenance, self._namespace, self._clock, self._keep = maintenance, namespace, clock, keep
        self.guard = Guard("pruning", EVERY_S)
        self._next = float("-inf")  # monotonic time of the next pruning

    async def run(self) -> None:
        """Prune every hour, until cancelled; the first time now."""
        if (keep := self._keep) is None:
            return

        async def turn() -> bool:
            await asyncio.sleep(max(0.0, self._next - self._clock.monotonic()))
            await self.prune_old(keep)
            self._next = self._clock.monotonic() + EVERY_S
            return True

        await self.guard.run_task(turn, asyncio.sleep)

    async def prune_old(self, older_than: timedelta) -> int:
        """Delete what ended longer ago; the number of runs."""
        before = self._clock.now() - microseconds(older_than)
        port, total = self._maintenance(self._namespace), 0
        while (deleted := await self._call(port.prune, before)) > 0:
            total += deleted
        return total

    async def _call(self, prune: Callable[[int, int], int], before: int) -> int:
        if self._clock.virtual:
            return prune(before, CHUNK)
        return await asyncio.to_thread(prune, before, CHUNK)
