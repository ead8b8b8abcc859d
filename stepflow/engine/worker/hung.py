"""hung: gives up attempts that made no commit for longer than their flow allows (`hung_after_s`)."""

from __future__ import annotations

from collections.abc import Collection

from stepflow.engine.execution import run_log
from stepflow.engine.execution.attempt import Attempt


def interrupt_hung(held: Collection[Attempt], mono: float) -> None:
    """Interrupt those at the monotonic time `mono`: their claims are released, their late writes are refused."""
    for attempt in list(held):
        limit = attempt.flow.options.hung_after_s
        if limit is not None and mono - attempt.moved_at > limit:
            attempt.hung = True
            run_log.hung(attempt, limit)
            attempt.interrupt()
