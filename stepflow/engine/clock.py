"""The only place that reads a clock or draws random bytes: the system's, or a virtual one that tests move by hand."""

from __future__ import annotations

import os
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

from stepflow.model.keywords import keywords

SECOND = 1_000_000  # in microseconds, the unit of every stored time
DRIFT = 1e-4  # seconds per second by which the clocks of two hosts may part
AGES_S = 2e11  # 6,000 years: a longer duration counts as this, so that every due time is one that a calendar has


def microseconds(duration: float | timedelta) -> int:
    """A duration in seconds, or a timedelta, as integer microseconds."""
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    return round(min(seconds, AGES_S) * SECOND)


def timestamp(moment: datetime) -> int:
    """A point in time as integer microseconds UTC; a datetime without a time zone is refused (ValueError)."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone: give one, e.g. datetime.now(UTC)")
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST = timestamp(datetime.min.replace(tzinfo=UTC))
LAST = timestamp(datetime.max.replace(tzinfo=UTC))  # of the calendar
NEVER = 1 << 62  # when a row is due that no time makes due; later than any time limit ends


def moment(micros: int) -> datetime:
    """Integer microseconds UTC as an aware datetime; the first or last one of the calendar for those outside of it."""
    return EPOCH + timedelta(microseconds=min(max(micros, FIRST), LAST))


def utc_text(at: datetime) -> str:
    """An aware datetime for people, e.g. `2030-01-31T18:30:00Z`."""
    return f"{at.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"


class Clock(ABC):
    """Where an engine gets time and chance from."""

    virtual: bool = False
    follows_store: bool = True  # an engine goes by the time of its store, if the store has one

    @abstractmethod
    def now(self) -> int:
        """The wall clock, integer microseconds UTC; it may jump."""

    @abstractmethod
    def monotonic(self) -> float:
        """Seconds that only ever grow; for judging whether others are alive."""

    @abstractmethod
    def random_bytes(self, n: int) -> bytes:
        """`n` random bytes."""

    def adjust(self, time: int, before: float, after: float) -> None:  # noqa: B027 - a clock may ignore it
        """The store told its time, microseconds UTC, between these two moments of `monotonic`; ignored by a virtual clock."""

    def waited(self) -> float:
        """Seconds that the calling thread has not computed, since some point in the past: for disks, locks, other threads."""
        return time.perf_counter() - time.thread_time()


class SystemClock(Clock):
    """The machine's clocks and entropy."""

    def now(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()

    def random_bytes(self, n: int) -> bytes:
        return os.urandom(n)


class StoreClock(Clock):
    """The clock of an engine: that of its store, if the store has one, else the given clock.

    Hosts that share a store must agree on what is due. So `now` is the host's monotonic time plus an offset, which is read
    when the engine is opened and with every heartbeat. The best reading is kept: one of a shorter round trip, or one that
    differs by more than both readings may be wrong. A host's monotonic clock drifts, so a reading loses worth with time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset: int | None = None
        self._error, self._read = 0.0, 0.0  # by how many seconds the reading may be wrong; when it was made
        self.now = clock.now  # type: ignore[method-assign]  # no call more where the store has no clock
        self.monotonic = clock.monotonic  # type: ignore[method-assign]
        self.random_bytes = clock.random_bytes  # type: ignore[method-assign]

    def now(self) -> int:
        return int(self._clock.monotonic() * SECOND) + (self._offset or 0)

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def random_bytes(self, n: int) -> bytes:
        return self._clock.random_bytes(n)

    def adjust(self, time: int, before: float, after: float) -> None:
        offset, error = time - int((before + after) / 2 * SECOND), (after - before) / 2
        mine = self._error + (after - self._read) * DRIFT
        if self._offset is None or error <= mine or abs(offset - self._offset) > (error + mine) * SECOND:
            self._offset, self._error, self._read = offset, error, after
            self.now = partial(StoreClock.now, self)  # type: ignore[method-assign]


@keywords()
class VirtualClock(Clock):
    """A clock that stands still until `advance` moves it; its random bytes repeat for the same `seed`.

    An engine with a virtual clock does everything inline, one run at a time. The runs of a flow are ordered by (priority, due,
    id), and flows take turns: a test of timers is deterministic and takes no real time.
    """

    virtual = True
    follows_store = False

    def __init__(self, start: datetime = datetime(2000, 1, 1, tzinfo=UTC), *, seed: int = 0) -> None:
        self._now = timestamp(start)
        self._elapsed = 0
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._listeners: list[Callable[[], None]] = []

    def now(self) -> int:
        return self._now

    def monotonic(self) -> float:
        return self._elapsed / SECOND

    def random_bytes(self, n: int) -> bytes:
        return self._random.randbytes(n)

    def advance(self, duration: float | timedelta) -> None:
        """Let time pass: seconds or a timedelta, not negative."""
        step = microseconds(duration)
        if step < 0:
            raise ValueError(
                f"advance({duration!r}): time does not run backwards; use jump() for a wall clock that is set back"
            )
        self._elapsed += step
        self._now += step
        self._tell()

    def jump(self, duration: float | timedelta) -> None:
        """Set the wall clock forward or back, as an administrator would; monotonic time stands still."""
        self._now += microseconds(duration)
        self._tell()

    def datetime(self) -> datetime:
        """The present moment as an aware datetime."""
        return moment(self._now)

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every movement of the clock."""
        self._listeners.append(listener)

    def unsubscribe(self, listener: Callable[[], None]) -> None:
        """Stop calling `listener`."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def _tell(self) -> None:
        for listener in list(self._listeners):
            listener()


def uuid7(clock: Clock) -> str:
    """A UUID of version 7 (RFC 9562): sorts by creation time in milliseconds."""
    value = (clock.now() // 1000 & 0xFFFFFFFFFFFF) << 80 | int.from_bytes(clock.random_bytes(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
