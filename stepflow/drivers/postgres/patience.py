"""Tells which owners' beats stood still for a while, without reading a clock: it waits, on timers of its own."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock, Timer

QUIET_S = 1.5


class Patience:
    """Compares what is seen now with what was seen at least `QUIET_S` seconds ago, under the same start of the server.

    A beat only ever grows, so one that is the same now as then did not change in between.
    """

    def __init__(self) -> None:
        self._guard = Lock()
        self._aged: Mapping[str, int] = {}
        self._boot = ""
        self._timers: set[Timer] = set()

    def observe(self, boot: str, beats: Mapping[str, int]) -> set[str]:
        """The owners whose beat stood still; `boot` tells one run of the server from the next."""
        with self._guard:
            if boot != self._boot:
                self._boot, self._aged = boot, {}
            still = {owner for owner, beat in beats.items() if self._aged.get(owner) == beat}
            if beats:
                timer = Timer(QUIET_S, lambda: self._age(timer, boot, beats))
                timer.daemon = True
                self._timers.add(timer)
                timer.start()
            return still

    def _age(self, timer: Timer, boot: str, beats: Mapping[str, int]) -> None:
        with self._guard:
            self._timers.discard(timer)
            if boot == self._boot:
                self._aged = beats

    def close(self) -> None:
        """Wait for nothing any more."""
        with self._guard:
            for timer in self._timers:
                timer.cancel()
            self._timers.clear()
