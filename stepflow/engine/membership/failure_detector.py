"""Judges which other owners are alive and which are dead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from stepflow.drivers.port.commit import Peer

ALIVE_S = 3.0
SILENCE_S = 10.0  # a beat that does not change for this long, by the observer's monotonic clock, means death

Verdict = Literal["alive", "dead", "unknown"]


class FailureDetector:
    """Judges owners by their beats and locks; pure in the times it is given.

    A free lock proves death. A held lock proves nothing (the process may be stopped), so a beat that does not change for
    SILENCE_S seconds also means death. A beat that changed within the last ALIVE_S seconds means life. At most
    `longest_gap_s` of the time between two observations counts: an observer that slept longer was stopped itself, and the
    others may have been stopped with it.

    `doubtful` is true when another observation is useful soon: a lock is no longer held, or an owner is new, and the store
    is not sure yet.
    """

    def __init__(self, longest_gap_s: float = 2.0) -> None:
        self._longest_gap_s = longest_gap_s
        self._looked: float | None = None
        self._seen: dict[str, tuple[int, float, bool]] = {}  # beat, seconds since it changed, whether it ever did
        self._locked: set[str] = set()  # owners whose lock was seen held
        self.doubtful = False

    def observe(self, peers: Iterable[Peer], mono: float) -> dict[str, Verdict]:
        """The verdict on each peer, by owner id; `mono` is the observer's monotonic time in seconds."""
        gap = 0.0 if self._looked is None else min(mono - self._looked, self._longest_gap_s)
        verdicts: dict[str, Verdict] = {}
        seen = {}
        self.doubtful = False
        for peer in peers:
            owner = peer.owner
            beat, silent_s, moved = self._seen.get(owner.id, (owner.beat, -gap, False))
            silent_s += gap
            if beat != owner.beat:
                beat, silent_s, moved = owner.beat, 0.0, True
            seen[owner.id] = (beat, silent_s, moved)
            if peer.lock == "free" or silent_s >= SILENCE_S:
                verdicts[owner.id] = "dead"
            else:
                verdicts[owner.id] = "alive" if moved and silent_s < ALIVE_S else "unknown"
            if peer.lock == "held":
                self._locked.add(owner.id)
            elif peer.lock == "unknown" and (owner.id in self._locked or not moved):
                self.doubtful = True
        self._seen, self._looked = seen, mono
        self._locked &= seen.keys()
        return verdicts
