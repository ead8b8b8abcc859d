"""RetryPolicy: how often and how far apart something that failed is tried again."""

from __future__ import annotations

import zlib

from attrs import field, frozen


def _positive_attempts(_instance: object, _attribute: object, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"max_attempts={value!r}: give a whole number of attempts, the first included, e.g. 3")


def _not_negative(_instance: object, attribute: object, value: float) -> None:
    if not value >= 0 or value == float("inf"):
        name = getattr(attribute, "name", "value")
        raise ValueError(f"{name}={value!r}: give a finite number that is not negative")


def _error_types(_instance: object, _attribute: object, value: object) -> None:
    types = value if isinstance(value, tuple) else (value,)
    if not types or not all(isinstance(t, type) and issubclass(t, Exception) for t in types):
        raise ValueError(f"on={value!r}: give an exception class or a tuple of them")


@frozen
class RetryPolicy:
    """Exponential back-off with a limit; the same class serves groups, steps and whole runs.

    `max_attempts` includes the first attempt. After attempt n the wait is `delay * factor ** (n - 1)` seconds, at most
    `max_delay`, moved by up to ± `jitter` (a share, 0.1 = 10 %). `on` is the exception class, or a tuple of classes, that
    may be retried. The policy is pure: its jitter is derived from the key that the caller gives.
    """

    max_attempts: int = field(default=3, validator=_positive_attempts)
    delay: float = field(default=1.0, validator=_not_negative)
    factor: float = field(default=2.0, validator=_not_negative)
    max_delay: float = field(default=60.0, validator=_not_negative)
    jitter: float = field(default=0.1, validator=_not_negative)
    on: type[Exception] | tuple[type[Exception], ...] = field(default=Exception, validator=_error_types)

    def allows(self, attempt: int, error: BaseException) -> bool:
        """Whether another attempt may follow after attempt number `attempt` (from 1) ended with `error`."""
        return attempt < self.max_attempts and isinstance(error, self.on)

    def delay_s(self, attempt: int, key: str = "") -> float:
        """Seconds to wait after attempt number `attempt` (from 1); the same key gives the same jitter."""
        try:
            base = min(self.delay * self.factor ** (attempt - 1), self.max_delay)
        except OverflowError:
            base = self.max_delay
        spread = zlib.crc32(f"{key}#{attempt}".encode()) / 0xFFFFFFFF * 2 - 1
        return max(0.0, base * (1 + self.jitter * spread))
