"""timetable: the points in time ("ticks") at which a schedule is due: those of a cron expression in a time zone, or of an interval.

Daylight saving time: an expression that does not match in each hour of the day is due once for each matching minute of the
local calendar. A minute that the clocks skip is due at the end of the gap, one that they show twice at its first occurrence.
An expression that matches in each hour goes by elapsed time: it is due whenever the clocks show a matching minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from hashlib import sha256
from itertools import takewhile
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from attrs import frozen

from stepflow.errors import StepflowError
from stepflow.model.cron import Cron, parse_cron

SECOND = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST = (datetime(1, 1, 3, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)  # in each zone the calendar has begun
OF_THE_MACHINE = frozenset(
    {"localtime", "posixrules", "Factory", "right", "posix"}
)  # no IANA names, or another one elsewhere


def zone_of(tz: object) -> tzinfo:
    """The IANA time zone of this name; UTC needs no database. Raises StepflowError for another name."""
    if tz == "UTC":
        return UTC
    if isinstance(tz, str):
        try:
            if tz.partition("/")[0] in OF_THE_MACHINE:
                raise ZoneInfoNotFoundError
            return ZoneInfo(tz)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            known = sorted(available_timezones())
            if not known:
                raise StepflowError(
                    f"tz={tz!r:.80}: this machine has no time zone database: pip install tzdata"
                ) from None
            # Never another abbreviation: EST for CEST.
            lowered = {name.lower(): name for name in known if "/" in name or name.lower() == tz.lower()}
            near = get_close_matches(tz.lower(), lowered, 1, 0.6)
            meant = f"; did you mean {lowered[near[0]]!r}?" if near else ""
            raise StepflowError(
                f"tz={tz!r:.80}: there is no such time zone: give an IANA name, e.g. 'Europe/Berlin'{meant}"
            ) from None
    raise StepflowError(f"tz={tz!r:.80}: give the IANA name of a time zone as text, e.g. 'Europe/Berlin'")


@frozen
class CronTimes:
    """The ticks of a cron expression in a time zone."""

    cron: Cron
    zone: tzinfo

    def after(self, instant: int) -> int | None:
        """The first tick after a point in time, both in microseconds UTC; None where the calendar ends."""
        instant = max(instant, EARLIEST)
        local = _datetime(instant).astimezone(self.zone)
        again = self._second_pass(instant, local) if self.cron.every_hour else None
        for found in self.cron.following(_naive(local)):
            at = self._instant(found, instant)
            if at is not None and at > instant:
                return at if again is None else min(at, again)
        return again

    def _instant(self, found: datetime, after: int) -> int | None:
        """When a local minute is due; None for one that is skipped."""
        at = _microseconds(found.replace(tzinfo=self.zone))
        if at is None:
            return None
        if _naive(_datetime(at).astimezone(self.zone)) != found:
            return None if self.cron.every_hour else self._end_of_gap(found)
        if self.cron.every_hour and at <= after:  # the clocks show it a second time
            return _microseconds(found.replace(tzinfo=self.zone, fold=1))
        return at

    def _end_of_gap(self, found: datetime) -> int:
        """The moment at which the clocks were put forward over a local time that they skip."""
        early, late = found.replace(tzinfo=self.zone, fold=1), found.replace(tzinfo=self.zone)
        low, high = (_microseconds(early) or 0) // SECOND, (_microseconds(late) or 0) // SECOND
        new = self._offset(high)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._offset(middle) == new else (middle, high)
        return high * SECOND

    def _offset(self, seconds: int) -> timedelta | None:
        return _datetime(seconds * SECOND).astimezone(self.zone).utcoffset()

    def _second_pass(self, instant: int, local: datetime) -> int | None:
        """At a local time that comes again: the first match of the second pass."""
        offset, later = local.utcoffset(), local.replace(fold=1).utcoffset()
        if local.fold or offset is None or later is None or offset == later:
            return None
        length = offset - later
        for found in takewhile(lambda one: one <= _naive(local) + length, self.cron.following(_naive(local) - length)):
            at = _microseconds(found.replace(tzinfo=self.zone, fold=1))
            if at is not None and at > instant and _naive(_datetime(at).astimezone(self.zone)) == found:
                return at
        return None


@frozen
class IntervalTimes:
    """A tick after each `every` microseconds from `anchor` on, without drift."""

    every: int
    anchor: int

    def after(self, instant: int) -> int | None:
        """The first tick after a point in time, microseconds UTC; never one before the first interval is over."""
        passed = max((instant - self.anchor) // self.every, 0)
        found = self.anchor + (passed + 1) * self.every
        return found if found < 1 << 62 else None


Times = CronTimes | IntervalTimes


def times_of(cron: str, every: int, tz: str, anchor: int) -> Times:
    """The ticks of a stored timing: an expression in a zone, or (`cron` empty) an interval in microseconds."""
    return CronTimes(parse_cron(cron), zone_of(tz)) if cron else IntervalTimes(every, anchor)


def ticks(times: Times, after: int, until: int) -> Iterator[int]:
    """The ticks after a point in time, up to and with another one."""
    tick = times.after(after)
    while tick is not None and tick <= until:
        yield tick
        tick = times.after(tick)


def last_before(times: Times, tick: int, end: int) -> int:
    """The last tick before `end`, given one that is earlier than that."""
    low, high = tick - 1, end - 1  # there is a tick behind `low`, none behind `high`
    while high - low > 1:
        middle = (low + high) // 2
        following = times.after(middle)
        low, high = (middle, high) if following is not None and following < end else (low, middle)
    return high


def jitter_of(schedule_id: str, tick: int, most: int) -> int:
    """By how many microseconds a tick is delayed: from 0 to below `most`, the same for the same schedule and tick."""
    if not most:
        return 0
    return int.from_bytes(sha256(f"{schedule_id}\0{tick}".encode()).digest()[:8]) % most


def tick_text(tick: int) -> str:
    """A tick as in the ids of runs: ISO 8601 in UTC with Z, with six decimals only if it is no whole second."""
    return f"{_datetime(tick).replace(tzinfo=None).isoformat()}Z"


def _datetime(instant: int) -> datetime:
    return EPOCH + timedelta(microseconds=instant)


def _naive(local: datetime) -> datetime:
    return local.replace(tzinfo=None, fold=0)


def _microseconds(aware: datetime) -> int | None:
    """Microseconds UTC; None beyond the calendar of UTC."""
    try:
        return (aware - EPOCH) // timedelta(microseconds=1)
    except OverflowError:
        return None
