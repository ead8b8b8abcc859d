"""StoreTime: reads the store's clock when the engine is opened, and now and then while it does not beat."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from stepflow.drivers.port.background import Guard
from stepflow.drivers.port.store import Store
from stepflow.engine.clock import Clock

REFRESH_S = 60.0  # a host's monotonic clock may drift by some milliseconds in this time


class StoreTime:
    """Adjusts the engine's clock to the store's, if the store has one, from `start` to `stop`; `call` runs a function in a thread.

    In between it is a timer, and no task: the caller of a blocking engine runs the loop only while no task is left.
    """

    def __init__(self, store: Store, clock: Clock, call: Callable[[Callable[[], bool]], Awaitable[bool]]) -> None:
        self._store, self._clock, self._call = store, clock, call
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._guard = Guard("clock")
        self.guards: tuple[Guard, ...] = ()

    def read(self) -> bool:
        """Read the store's clock, in a thread; False if it has none."""
        before = self._clock.monotonic()
        time = self._store.time()
        if time is None:
            return False
        self._clock.adjust(time, before, self._clock.monotonic())
        return True

    async def start(self) -> None:
        """Read the store's clock now, and go on to do so."""
        if await self._call(self.read):
            self.guards = (self._guard,)
            self._set_timer()

    async def stop(self) -> None:
        """Read it no more."""
        if self._timer is not None:
            self._timer.cancel()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _set_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(REFRESH_S, self._begin)

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._guard.run_task(self._turn, asyncio.sleep))
        self._task.add_done_callback(self._read_over)

    def _read_over(self, task: asyncio.Task[None]) -> None:
        """The clock is read, or `stop` or a step cancelled the task."""
        if self._task is task:
            self._set_timer()

    async def _turn(self) -> bool:
        await self._call(self.read)
        self._guard.succeeded()
        return False
