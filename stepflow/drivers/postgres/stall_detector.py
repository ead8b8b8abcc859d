"""Finds the owners whose beats stood still for a while, from what the caller's clock says."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock

QUIET_S = 1.5
# For an owner that took its lock under the present start of the server: only the end of its own connection released it. One
# that lives and holds claims beats more often than this.
SURE_S = 0.7


class StallDetector:
    """Notes when each beat was seen first, under the same start of the server; a beat only ever grows."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._since: dict[str, tuple[int, float]] = {}  # beat, and when it was seen first
        self._boot = ""

    def observe(self, boot: str, beats: Mapping[str, tuple[int, str]], mono: float) -> set[str]:
        """The owners whose beat stood still; `boot` names one start of the server, `mono` is monotonic time in seconds.

        Of each owner its beat, and the start under which it took its lock.
        """
        with self._lock:
            if boot != self._boot:
                self._boot, self._since = boot, {}
            before, self._since = self._since, {}
            still = set()
            for owner, (beat, locked) in beats.items():
                seen = before.get(owner)
                self._since[owner] = seen = seen if seen is not None and seen[0] == beat else (beat, mono)
                if mono - seen[1] >= (SURE_S if locked == boot else QUIET_S):
                    still.add(owner)
            return still
