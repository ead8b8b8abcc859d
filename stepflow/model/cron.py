"""cron: parses cron expressions, and finds the minutes of the local calendar that match one."""

from __future__ import annotations

import re
from bisect import bisect_left
from calendar import monthrange
from collections.abc import Iterator
from datetime import MAXYEAR, date, datetime, time, timedelta
from fractions import Fraction

from attrs import frozen

from stepflow.errors import StepflowError

NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_UNITS = {
    unit: Fraction(size, 1000)
    for unit, size in (
        ("ns", 1),
        ("us", 10**3),
        ("µs", 10**3),
        ("μs", 10**3),
        ("ms", 10**6),
        ("s", 10**9),
        ("m", 60 * 10**9),
    )
} | {"h": Fraction(3600 * 10**6)}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@frozen
class _CronField:
    name: str
    first: int
    last: int
    names: tuple[str, ...] = ()


FIELDS = (
    _CronField("minute", 0, 59),
    _CronField("hour", 0, 23),
    _CronField("day of month", 1, 31),
    _CronField("month", 1, 12, _MONTHS),
    _CronField("day of week", 0, 7, _DAYS),
)
_EXAMPLE = '"30 2 * * *" (minute, hour, day of month, month, day of week)'


@frozen
class Cron:
    """A cron expression: the values of each field in ascending order; `text` is its canonical form, five fields.

    If both day fields are restricted, a day matches that fits one of them. Only a literal `*` is no restriction. Sunday is 0.
    """

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    @property
    def every_hour(self) -> bool:
        """Whether it matches in each hour of a day."""
        return len(self.hours) == 24

    def matches_day(self, day: date) -> bool:
        """Whether some minute of this day matches."""
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, (day.weekday() + 1) % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return (self.any_day or of_month) and (self.any_weekday or of_week)
        return of_month or of_week

    def matches(self, local: datetime) -> bool:
        """Whether this minute of the local calendar matches."""
        return local.hour in self.hours and local.minute in self.minutes and self.matches_day(local.date())

    def following(self, local: datetime) -> Iterator[datetime]:
        """The matching minutes after a local time without zone, in ascending order, until the calendar ends."""
        today = local.date()
        for day in self._days_from(today):
            for hour in self.hours[bisect_left(self.hours, local.hour) if day == today else 0 :]:
                for minute in self.minutes:
                    found = datetime.combine(day, time(hour, minute))
                    if found > local:
                        yield found

    def _days_from(self, day: date) -> Iterator[date]:
        while True:
            if day.month not in self.months:
                step = monthrange(day.year, day.month)[1] - day.day + 1
            else:
                step = 1
                if self.matches_day(day):
                    yield day
            if day.year == MAXYEAR and day.month == 12 and day.day + step > 31:
                return
            day += timedelta(days=step)


def interval_of(text: str) -> int | None:
    """The microseconds of `@every 1h30m` (Go's durations: a sum of numbers with units); None for another expression."""
    word, _, rest = text.strip().partition(" ")
    if word.lower() != "@every":
        return None
    total, at, rest = Fraction(0), 0, rest.strip()
    for part in _PART.finditer(rest):
        if part.start() != at:
            break
        total, at = total + Fraction(part[1]) * _UNITS[part[2]], part.end()
    if not rest or at != len(rest) or total < 1:
        raise StepflowError(f'cron={text!r:.120}: give a duration above 0 after @every, e.g. "@every 1h30m", or every=')
    return int(total)


def parse_cron(text: object) -> Cron:
    """The expression: five fields, or a nickname such as `@daily`. Raises StepflowError for one that cannot be meant."""
    if not isinstance(text, str):
        raise StepflowError(f"cron={text!r:.120}: give a text, e.g. {_EXAMPLE}")
    given = text.strip().lower()
    if given.startswith("@") and given not in NICKNAMES:
        known = ", ".join(NICKNAMES)
        raise StepflowError(
            f"cron={text!r:.120}: the nicknames are {known}, and @every with a duration; or give {_EXAMPLE}"
        )
    fields = NICKNAMES.get(given, given).split()
    if len(fields) != len(FIELDS):
        raise StepflowError(
            f"cron={text!r:.120}: it has {len(fields)} fields, not five: give {_EXAMPLE}; for intervals below a minute use every="
        )
    minutes, hours, days, months, weekdays = (
        _values(text, field, part) for field, part in zip(FIELDS, fields, strict=True)
    )
    found = Cron(
        " ".join(fields),
        tuple(sorted(minutes)),
        tuple(sorted(hours)),
        days,
        months,
        frozenset(day % 7 for day in weekdays),
        fields[2] == "*",
        fields[4] == "*",
    )
    longest = max(monthrange(2000, month)[1] for month in found.months)  # 2000 has a 29 February
    if found.any_weekday and min(found.days) > longest:
        raise StepflowError(
            f"cron={text!r:.120}: no month that it names has a day {min(found.days)}: give a day of month up to {longest}"
        )
    return found


def _values(text: str, field: _CronField, given: str) -> frozenset[int]:
    return frozenset(value for item in given.split(",") for value in _item(text, field, item))


def _item(text: str, field: _CronField, item: str) -> range:
    """The values of one item of a list: `*`, `*/S`, `N`, `N/S`, `A-B` or `A-B/S`."""
    base, slash, step_text = item.partition("/")
    step = 1
    if slash:
        if not _is_number(step_text) or int(step_text) == 0:
            raise _wrong(text, field, item, "the step after / must be a whole number above 0")
        step = int(step_text)
    first_text, dash, last_text = base.partition("-")
    if base == "*":
        first, last = field.first, field.last - (field.names is _DAYS)  # 7 is Sunday again
    else:
        first = _number(text, field, item, first_text)
        last = _number(text, field, item, last_text) if dash else field.last if slash else first
        if dash and last_text == "sun" and first > 0:
            last = 7
    if first > last:
        raise _wrong(text, field, item, f"{first} is after {last}: write the smaller one first")
    return range(first, last + 1, step)


def _number(text: str, field: _CronField, item: str, given: str) -> int:
    if given in field.names:
        return field.names.index(given) + field.first
    if not _is_number(given):
        names = f" or {field.names[0]}-{field.names[-1]}" if field.names else ""
        raise _wrong(text, field, item, f"give whole numbers{names}, *, lists (1,2), ranges (1-5) or steps (*/2)")
    value = int(given)
    if not field.first <= value <= field.last:
        raise _wrong(text, field, item, f"{value} is outside of {field.first}-{field.last}")
    return value


def _is_number(given: str) -> bool:
    return given.isascii() and given.isdigit() and len(given) <= 4


def _wrong(text: str, field: _CronField, item: str, why: str) -> StepflowError:
    return StepflowError(f"cron={text!r:.120}: {item!r:.40} is no {field.name}: {why}; e.g. {_EXAMPLE}")
