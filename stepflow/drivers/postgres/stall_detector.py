"""Finds the owners whose beats stood still for a while, from what the caller's clock says."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from threading import Lock

QUIET_S = 1.5
# For an owner whose lock was seen held since the server's start: only its own connection can have released it.
SURE_S = 1.0


class StallDetector:
    """Notes when each beat was seen first, under the same start of the server; a beat only ever grows."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._since: dict[str, tuple[int, float]] = {}  # beat, and when it was seen first
        self._held: set[str] = set()
        self._boot = ""

    def observe(self, boot: str, beats: Mapping[str, int], mono: float) -> set[str]:
        """The owners whose beat stood still; `boot` names one run of the server, `mono` is monotonic time in seconds."""
        with self._lock:
            if boot != self._boot:
                self._boot, self._since, self._held = boot, {}, set()
            self._held &= beats.keys()
            before, self._since = self._since, {}
            for owner, beat in beats.items():
                seen = before.get(owner)
                self._since[owner] = seen if seen is not None and seen[0] == beat else (beat, mono)
            return {owner for owner, (_beat, since) in self._since.items() if mono - since >= self._needed(owner)}

    def held(self, owners: Collection[str]) -> None:
        """The locks of these owners were just seen to be held."""
        with self._lock:
            self._held |= set(owners)

    def _needed(self, owner: str) -> float:
        return SURE_S if owner in self._held else QUIET_S
