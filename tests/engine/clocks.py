"""A clock that tests move by hand while the engine uses real threads, as in production."""

from __future__ import annotations

import threading

from stepflow.engine.clock import SECOND, Clock, SystemClock


class ManualClock(Clock):
    """Real until it is moved: `leap` adds to monotonic and wall time, `jump` to the wall time only.

    It does not follow the clock of a store, which stands still while this one leaps: the next heartbeat would take the leap back.
    """

    follows_store = False

    def __init__(self) -> None:
        self._system, self._guard = SystemClock(), threading.Lock()
        self._wall, self._mono = 0, 0.0

    def now(self) -> int:
        return self._system.now() + self._wall

    def monotonic(self) -> float:
        return self._system.monotonic() + self._mono

    def random_bytes(self, n: int) -> bytes:
        return self._system.random_bytes(n)

    def leap(self, seconds: float) -> None:
        with self._guard:
            self._wall += int(seconds * SECOND)
            self._mono += seconds

    def jump(self, seconds: float) -> None:
        with self._guard:
            self._wall += int(seconds * SECOND)
