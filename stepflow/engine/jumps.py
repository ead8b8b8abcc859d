"""Jumps: moves a virtual clock from one due time to the next, up to a moment and a number of jumps."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from stepflow.engine.clock import SECOND, Clock, VirtualClock, microseconds, moment, timestamp, utc_text
from stepflow.errors import StepflowError

MAX_JUMPS = 5_000


class Jumps:
    """The jumps of one `run_until_idle(advance=True)`; without `advance` there are none."""

    def __init__(self, clock: Clock, advance: bool, until: datetime | timedelta | None, max_jumps: int) -> None:
        if advance and not isinstance(clock, VirtualClock):
            raise StepflowError("run_until_idle(advance=True) needs a virtual clock: Engine(..., clock=VirtualClock())")
        if until is not None and not advance:
            raise StepflowError("run_until_idle(until=...) needs advance=True: without it time does not pass")
        if isinstance(max_jumps, bool) or not isinstance(max_jumps, int) or max_jumps < 1:
            raise StepflowError(f"max_jumps={max_jumps!r:.80}: give a whole number from 1 on, e.g. {MAX_JUMPS}")
        self._clock = clock if advance and isinstance(clock, VirtualClock) else None
        self._until = None if until is None else _checked_until(until, clock.now())
        self._left = self._most = max_jumps

    def exhausted(self, due: int) -> bool:
        """Whether a jump to this time, not after the end, is one too many."""
        return self._left == 0 and (self._until is None or due <= self._until)

    def to(self, due: int | None) -> bool:
        """Jump to a due time (microseconds UTC); False if nothing is due, or not before the end."""
        if self._clock is None:
            return False
        goal = due if self._until is None or (due is not None and due <= self._until) else self._until
        if goal is not None:
            self._clock.advance(max(0, goal - self._clock.now()) / SECOND)
        self._left -= 1
        return goal is not None and goal == due

    def problem(self, next_one: str) -> StepflowError:
        """The refusal of one jump more; `next_one` tells what is due then."""
        assert self._clock is not None
        move = "if that goes on for ever, give until=, a duration or a moment; else a larger max_jumps="
        if self._until is not None:
            move = f"it is not {utc_text(moment(self._until))} (until=) yet: give a larger max_jumps=, or an earlier until="
        return StepflowError(
            f"run_until_idle(advance=True): after {self._most} jumps it is {utc_text(self._clock.datetime())}, and {next_one}: {move}"
        )


def _checked_until(until: Any, now: int) -> int:
    if isinstance(until, timedelta) and until >= timedelta(0):
        return now + microseconds(until)
    if isinstance(until, datetime) and until.tzinfo is not None:
        return timestamp(until)
    raise StepflowError(f"until={until!r:.80}: give a timedelta that is not negative, or an aware datetime")
