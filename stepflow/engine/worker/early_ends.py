"""early_ends: ends attempts before their time: they hang, or the time limit of their run is over, or this engine cannot show that it lives, or others took it for dead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection

from stepflow.engine.clock import SECOND, Clock, VirtualClock
from stepflow.engine.execution import run_log
from stepflow.engine.execution.attempt import Attempt
from stepflow.model.run_timeout import RunEnd, end_of

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


class RunAlarms:
    """The alarms of the attempts of one worker, for those whose runs have a time limit."""

    def __init__(self, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        self._clock, self._loop = clock, loop
        self._unset: dict[Attempt, Callable[[], None]] = {}

    def set(self, attempt: Attempt) -> None:
        """Let the attempt end its run in time, if the run has a limit."""
        end = end_of(attempt.state.labels)
        if end is not None and attempt.limit_run(end):
            self._arm(attempt, end)

    def drop(self, attempt: Attempt) -> None:
        """The attempt has ended."""
        if (unset := self._unset.pop(attempt, None)) is not None:
            unset()

    def _arm(self, attempt: Attempt, end: RunEnd) -> None:
        clock = self._clock
        if isinstance(clock, VirtualClock):

            def moved() -> None:
                if clock.now() >= end.at:
                    clock.unsubscribe(moved)
                    self._loop.call_soon_threadsafe(self._ring, attempt, end)

            self._unset[attempt] = lambda: clock.unsubscribe(moved)
            clock.subscribe(moved)
        else:
            later = max(0.001, (end.at - clock.now()) / SECOND)
            self._unset[attempt] = self._loop.call_later(later, self._ring, attempt, end).cancel

    def _ring(self, attempt: Attempt, end: RunEnd) -> None:
        if self._unset.pop(attempt, None) is None:
            return
        if self._clock.now() < end.at:  # the store's clock goes otherwise than this loop's
            self._arm(attempt, end)
            return
        attempt.end_in_time()
        if attempt.timed_out:
            run_log.timed_out(attempt)
