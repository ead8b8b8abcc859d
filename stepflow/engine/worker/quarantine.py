"""Room for suspects: a run that may have killed two processes is advanced alone, so that it harms no other one."""

from __future__ import annotations

from collections.abc import Collection

from stepflow.engine.execution.attempt import Attempt

DRAIN_S, DRAIN_PAUSE_S = 5.0, 30.0  # a busy worker makes room for suspects so long, and not again for so long


class Quarantine:
    """What one worker knows of suspects: how many are due, and which one it advances. Pure in the times it is given."""

    def __init__(self) -> None:
        self.due = 0
        self._attempt: Attempt | None = None
        self._drain_from = float("-inf")

    def begun(self, attempt: Attempt) -> None:
        """This suspect is being advanced."""
        self._attempt = attempt

    def runs_alone(self, held: Collection[Attempt]) -> bool:
        """Whether a suspect is being advanced that must not have company; its first commit clears it."""
        attempt = self._attempt
        return attempt is not None and not attempt.progressed and any(a is attempt for a in held)

    def wait_for_room(self, held: Collection[Attempt], mono: float) -> bool:
        """Whether to claim nothing but a suspect now; asks the others to make room, at monotonic time `mono`."""
        if not self.due or not held:
            return self.due > 0
        if mono - self._drain_from > DRAIN_S + DRAIN_PAUSE_S:
            self._drain_from = mono
            for attempt in held:
                attempt.stop = True  # it goes on later, here or elsewhere
        return mono - self._drain_from <= DRAIN_S
