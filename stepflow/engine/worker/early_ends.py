"""early_ends: ends attempts before their time: they hang, or this engine cannot show that it lives, or others took it for dead."""

from __future__ import annotations

import logging
from collections.abc import Collection

from stepflow.engine.execution import run_log
from stepflow.engine.execution.attempt import Attempt

log = logging.getLogger("stepflow")


def interrupt_hung(held: Collection[Attempt], mono: float) -> None:
    """Interrupt those at the monotonic time `mono`: their claims are released, their late writes are refused."""
    for attempt in list(held):
        limit = attempt.flow.options.hung_after_s
        if limit is not None and mono - attempt.moved_at > limit:
            attempt.hung = True
            run_log.hung(attempt, limit)
            attempt.interrupt()


def give_up(held: Collection[Attempt]) -> None:
    """Let attempts release their claims after their present step: this engine cannot show that it lives."""
    if going := sum(not attempt.stop for attempt in held):
        log.warning("%d run(s) are released after their present step: no heartbeat reached the store", going)
    for attempt in held:
        attempt.stop = True


def drop_all(held: Collection[Attempt]) -> None:
    """Drop what was held: others took this engine for dead. Late writes of steps that go on are refused."""
    for attempt in list(held):
        log.warning("run %s is dropped: others took this engine for dead", attempt.state.id)
        attempt.interrupt()
