"""Quarantine: a suspect, a run that may have killed two processes, is advanced alone so that it harms no other run."""

from __future__ import annotations

from collections.abc import Collection

from stepflow.engine.execution.attempt import Attempt

STAND_ASIDE_S = 5.0  # for which a busy worker releases runs for a suspect
STAND_ASIDE_PAUSE_S = 30.0  # after that


class Quarantine:
    """The suspects of one worker: how many are due, and which one it advances. Pure in the times it is given."""

    def __init__(self) -> None:
        self.due = 0
        self._attempt: Attempt | None = None
        self._aside_from = float("-inf")

    def begun(self, attempt: Attempt) -> None:
        """The worker advances this suspect now."""
        self._attempt = attempt

    def runs_alone(self, held: Collection[Attempt]) -> bool:
        """Whether the worker advances a suspect that must be alone; the suspect's first commit ends that."""
        attempt = self._attempt
        return attempt is not None and not attempt.progressed and any(a is attempt for a in held)

    def makes_way(self, held: Collection[Attempt], mono: float) -> bool:
        """Whether to claim nothing but a suspect at monotonic time `mono`; asks the held attempts to release their runs."""
        if not self.due or not held:
            return self.due > 0
        if mono - self._aside_from > STAND_ASIDE_S + STAND_ASIDE_PAUSE_S:
            self._aside_from = mono
            for attempt in held:
                attempt.stop = True  # it goes on later, here or elsewhere
        return mono - self._aside_from <= STAND_ASIDE_S
