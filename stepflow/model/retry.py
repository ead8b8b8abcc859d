"""RetryPolicy: how often, and after which delays, a failed step or run is retried."""

from __future__ import annotations

import zlib
from datetime import timedelta
from math import exp, inf, isfinite, log
from typing import Any

from attrs import Factory, field, frozen

from stepflow.errors import Terminal
from stepflow.model.durations import seconds
from stepflow.model.error_text import cause_of, is_a, parts_of
from stepflow.model.keywords import keywords

LONGEST_S = 60.0  # `max_delay` unless another one, or a longer `delay`, is given
LARGEST_EXPONENT = 700.0  # of e, as a float


def _positive_attempts(_instance: object, _attribute: object, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"max_attempts={value!r}: give a whole number of attempts, the first included, e.g. 3")


def _seconds(name: str, value: Any) -> float:
    found, problem = seconds(name, value, zero=True)
    if problem:
        raise ValueError(problem)
    return found


def _delay(value: float | timedelta) -> float:
    return _seconds("delay", value)


def _max_delay(value: float | timedelta) -> float:
    return _seconds("max_delay", value)


def _is_number(value: object, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value) and 0 <= value <= most


def _factor(_instance: object, _attribute: object, value: float) -> None:
    if not _is_number(value, inf):
        raise ValueError(f"factor={value!r}: give a finite number that is not negative, e.g. 2")


def _share(_instance: object, _attribute: object, value: float) -> None:
    if not _is_number(value, 1):
        raise ValueError(f"jitter={value!r}: give the share of the delay, from 0 to 1, by which it may vary, e.g. 0.1")


def _error_types(_instance: object, _attribute: object, value: object) -> None:
    types = value if isinstance(value, tuple) else (value,)
    if not types or not all(isinstance(t, type) and issubclass(t, Exception) for t in types):
        raise ValueError(
            f"on={value!r}: give a subclass of Exception or a tuple of them; nothing else, e.g. SystemExit, is ever retried"
        )


def is_terminal(error: BaseException) -> bool:
    """Whether nothing is retried after this exception: it is a `Terminal`, was raised `from` one, or is a group that has one in it."""
    left, seen = [error], set[int]()
    while left:
        one = left.pop()
        if is_a(one, Terminal):
            return True
        if id(one) not in seen:
            seen.add(id(one))
            cause = cause_of(one)
            left += parts_of(one) if cause is None else (cause, *parts_of(one))
    return False


@keywords(
    max_retries="give max_attempts=, which counts the first attempt, too",
    retries="give max_attempts=, which counts the first attempt, too",
)
@frozen
class RetryPolicy:
    """Exponential back-off with a limit; the same class serves groups, steps and whole runs.

    `max_attempts` includes the first attempt. After attempt n the wait is `delay * factor ** (n - 1)`, at most `max_delay`
    (60 seconds, or `delay` if that is longer; both are given in seconds or as a timedelta, and kept in seconds), changed by up to ± `jitter` (a share, 0.1 = 10 %).
    `on` is the exception class, or a tuple of classes, that may be retried; an ExceptionGroup, e.g. that of a TaskGroup, may be if
    all exceptions in it may. `Terminal` is never retried, nor what was raised `from` it, or is a group that has it. The policy is pure: its jitter is derived from the key that the caller gives.
    """

    max_attempts: int = field(default=3, validator=_positive_attempts)
    delay: float = field(default=1.0, converter=_delay)
    factor: float = field(default=2.0, validator=_factor)
    max_delay: float = field(
        default=Factory(lambda self: max(LONGEST_S, self.delay), takes_self=True), converter=_max_delay
    )
    jitter: float = field(default=0.1, validator=_share)
    on: type[Exception] | tuple[type[Exception], ...] = field(default=Exception, validator=_error_types)

    def allows(self, attempt: int, error: BaseException) -> bool:
        """Whether another attempt may follow after attempt number `attempt` (from 1) ended with `error`."""
        return attempt < self.max_attempts and self.covers(error)

    def covers(self, error: BaseException) -> bool:
        """Whether the policy retries an exception of this class: one of `on`, or a group in which every exception is one; nothing terminal."""
        if is_terminal(error):
            return False
        left = [error]
        while left:
            one = left.pop()
            kind = type(one)  # not isinstance: that would ask the exception for its `__class__`
            if issubclass(kind, self.on):
                continue
            if not issubclass(kind, ExceptionGroup):
                return False
            left += parts_of(one)
        return True

    def delay_s(self, attempt: int, key: str = "") -> float:
        """Seconds to wait after attempt number `attempt` (from 1); the same key gives the same jitter."""
        try:
            base = min(self.delay * self.factor ** (attempt - 1), self.max_delay)
        except OverflowError:  # the power is too large for a float, its product with a small delay need not be
            exponent = log(self.delay) + (attempt - 1) * log(self.factor) if self.delay else -inf
            base = min(exp(min(exponent, LARGEST_EXPONENT)), self.max_delay)
        spread = zlib.crc32(f"{key}#{attempt}".encode()) / 0xFFFFFFFF * 2 - 1
        return max(0.0, base * (1 + self.jitter * spread))
