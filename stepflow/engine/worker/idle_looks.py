"""IdleLooks: when a worker that has nothing to do looks whether other owners still hold runs, and when it beats for that."""

from __future__ import annotations

from stepflow.engine.clock import SECOND

SOON = SECOND // 50  # after a claim, until it asks when other runs are due
VERDICT = SECOND // 4  # between beats for owners that may be dead: each is a write
FIRST_LOOK = SECOND // 200  # after a beat, then after twice that, ... VERDICT: others often end together
MOST_UNKNOWN = 20  # writes of unknown outcome after which the worker goes on: the store tells what was done


class IdleLooks:
    """The looks of a worker that ends when nothing is left to do; all times are microseconds UTC."""

    def __init__(self) -> None:
        self._beaten: int | None = None
        self._pause = FIRST_LOOK

    def beats(self, now: int) -> bool:
        """Whether the look at `now` beats, to find out which owners live; it counts as done then."""
        if self._beaten is not None and 0 <= now - self._beaten < VERDICT:
            return False
        self._beaten, self._pause = now, FIRST_LOOK
        return True

    def next(self, now: int) -> int:
        """When to look again after a look at `now` that left a doubt."""
        pause, self._pause = self._pause, min(2 * self._pause, VERDICT)
        return now + pause
