"""Tells which owners' beats stood still for a while, without reading a clock: it waits, on timers of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from threading import Lock, Timer

QUIET_S = 1.5
# Of an owner whose lock was seen held since the server's start: only its own connection can have let it go.
SURE_S = 1.0


class StallDetector:
    """Compares what is seen now with what was seen some seconds ago, under the same start of the server.

    A beat only ever grows, so one that is the same now as then did not change in between.
    """

    def __init__(self) -> None:
        self._guard = Lock()
        self._aged: dict[float, Mapping[str, int]] = {}
        self._held: set[str] = set()
        self._boot = ""
        self._timers: set[Timer] = set()

    def observe(self, boot: str, beats: Mapping[str, int]) -> set[str]:
        """The owners whose beat stood still; `boot` tells one run of the server from the next."""
        with self._guard:
            if boot != self._boot:
                self._boot, self._aged, self._held = boot, {}, set()
            self._held &= beats.keys()
            still = {owner for owner, beat in beats.items() if self._of(owner) == beat}
            for wait_s in (SURE_S, QUIET_S) if beats else ():
                self._start(wait_s, boot, beats)
            return still

    def held(self, owners: Collection[str]) -> None:
        """The locks of these owners were just seen to be held."""
        with self._guard:
            self._held |= set(owners)

    def _of(self, owner: str) -> int | None:
        return self._aged.get(SURE_S if owner in self._held else QUIET_S, {}).get(owner)

    def _start(self, wait_s: float, boot: str, beats: Mapping[str, int]) -> None:
        timer = Timer(wait_s, lambda: self._age(timer, wait_s, boot, beats))
        timer.daemon = True
        self._timers.add(timer)
        timer.start()

    def _age(self, timer: Timer, wait_s: float, boot: str, beats: Mapping[str, int]) -> None:
        with self._guard:
            self._timers.discard(timer)
            if boot == self._boot:
                self._aged[wait_s] = beats

    def close(self) -> None:
        """Wait for nothing any more."""
        with self._guard:
            for timer in self._timers:
                timer.cancel()
            self._timers.clear()
