"""Blocks: which runs this worker has released as blocked, so that the log has each block once, however often the run is tried again."""

from __future__ import annotations

from stepflow.drivers.port.commit import Release
from stepflow.engine.execution import run_log
from stepflow.engine.execution.attempt import Attempt

MOST = 1000  # runs that are remembered


class Blocks:
    """The last block of each run, with the revision at which it was: a run that has moved since is told of again."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[int, str]] = {}

    def note(self, attempt: Attempt, release: Release) -> None:
        """The run is released as blocked, and that is durable."""
        block = attempt.state.rev, release.blocked
        if self._told.get(attempt.state.id) == block:
            return
        if len(self._told) >= MOST:
            self._told.clear()
        self._told[attempt.state.id] = block
        run_log.blocked(attempt, release)
