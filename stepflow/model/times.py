"""times: dates, times of day, points in time and durations as texts, so that exactly the same value is read again.

A time zone of `zoneinfo` is stored by its key, as in RFC 9557: `2026-03-07T09:00:00-05:00[America/New_York]`. `[fold=1]`
follows where the offset does not tell which of two equal readings of the clock is meant.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from stepflow.errors import CodecError
from stepflow.model.scalars import TypeMismatch, mismatch

_FOLD = "fold=1"


def write_datetime(value: Any) -> str:
    """A point in time with its offset and its zone; refuses one without a zone, or with a zone that cannot be named."""
    if type(value) is not datetime:
        raise mismatch(datetime, value)
    text = value.isoformat()
    zone = value.tzinfo
    if zone is UTC and not value.fold:
        return text
    if zone is None:
        raise CodecError(
            f"{value!r} has no time zone: give one, e.g. datetime.now(UTC), so that it means the same everywhere"
        )
    text += _zone_suffix(value, zone)
    if value.fold and (type(zone) is timezone or value.replace(fold=0).utcoffset() == value.utcoffset()):
        text += f"[{_FOLD}]"
    return text


def read_datetime(text: Any, _type: object = datetime) -> datetime:
    """The point in time of such a text, also without zone; raises TypeMismatch if it has no offset."""
    base, zone, fold = _split(text)
    value = datetime.fromisoformat(base)
    if value.tzinfo is None:
        raise TypeMismatch(f"{text!r} has no UTC offset")
    if zone is not None:
        local = value.replace(tzinfo=zone)
        if local.utcoffset() != value.utcoffset():
            later = local.replace(fold=1)
            # if neither reading has the offset, the rules of the zone changed since: the local time stays what it was
            local = later if later.utcoffset() == value.utcoffset() else local
        value = local
    return value.replace(fold=1) if fold else value


def write_time(value: Any) -> str:
    """A time of day, with the zone if it has one."""
    if type(value) is not time:
        raise mismatch(time, value)
    text = value.isoformat()
    if value.tzinfo is not None:
        text += _zone_suffix(value, value.tzinfo)
    return f"{text}[{_FOLD}]" if value.fold else text


def read_time(text: Any, _type: object = time) -> time:
    """The time of day of such a text."""
    base, zone, fold = _split(text)
    value = time.fromisoformat(base)
    if zone is not None:
        value = value.replace(tzinfo=zone)
    return value.replace(fold=1) if fold else value


def write_date(value: Any) -> str:
    """A date; a datetime is not one, although it is an instance of `date`."""
    if type(value) is not date:
        raise mismatch(date, value)
    return value.isoformat()


def read_date(text: Any, _type: object = date) -> date:
    """The date of such a text."""
    return date.fromisoformat(text)


def write_timedelta(value: Any) -> float | str:
    """Seconds as a number; as a text with six decimals if a float would lose microseconds."""
    if type(value) is not timedelta:
        raise mismatch(timedelta, value)
    seconds = value.total_seconds()
    try:
        exact = timedelta(seconds=seconds) == value
    except OverflowError:
        exact = False
    return seconds if exact else duration_text(value)


def duration_text(value: timedelta) -> str:
    """The seconds of a duration with six decimals, e.g. `-1.500000`."""
    microseconds = value // timedelta(microseconds=1)
    whole, rest = divmod(abs(microseconds), 1_000_000)
    return f"{'-' if microseconds < 0 else ''}{whole}.{rest:06d}"


def read_timedelta(seconds: Any, _type: object = timedelta) -> timedelta:
    """The duration of that many seconds, a number or a text."""
    if isinstance(seconds, str):
        try:
            return timedelta(microseconds=int(Decimal(seconds).scaleb(6)))
        except (InvalidOperation, ValueError, OverflowError):
            raise TypeMismatch(f"expected seconds, found {seconds!r:.80}") from None
    return timedelta(seconds=seconds)


def same_instant(value: datetime) -> str:
    """The text that all spellings of one instant share."""
    try:
        return value.astimezone(UTC).isoformat()
    except OverflowError:  # within hours of the first or the last year
        return value.isoformat()


def same_time(value: time) -> str:
    """The text that all equal times of day share."""
    offset = value.utcoffset()
    if not offset:
        return value.replace(tzinfo=None if offset is None else UTC, fold=0).isoformat()
    of_day = timedelta(hours=value.hour, minutes=value.minute, seconds=value.second, microseconds=value.microsecond)
    moved = of_day - offset
    inside = timedelta(0) <= moved < timedelta(days=1)
    return (datetime(1, 1, 1, tzinfo=UTC) + moved).timetz().isoformat() if inside else duration_text(moved)


def _zone_suffix(value: Any, zone: Any) -> str:
    """Empty for a fixed offset, which is part of the text already."""
    if type(zone) is timezone:
        return ""
    if type(zone) is ZoneInfo and zone.key is not None:
        return f"[{zone.key}]"
    what = "a ZoneInfo without a key" if isinstance(zone, ZoneInfo) else f"a zone of type {type(zone).__qualname__}"
    raise TypeMismatch(
        f"{value!r} has {what}, which cannot be stored: give it a zone of zoneinfo or a fixed offset, "
        'e.g. value.astimezone(ZoneInfo("Europe/Paris"))'
    )


def _split(text: Any) -> tuple[str, ZoneInfo | None, bool]:
    """(ISO 8601 text, the zone after it, whether it is the second reading of the clock)."""
    base, bracket, rest = text.partition("[")
    if not bracket:
        return base, None, False
    tags = rest.removesuffix("]").split("][")
    fold = tags[-1] == _FOLD
    keys = tags[:-1] if fold else tags
    return base, _zone(keys[0]) if keys else None, fold


def _zone(key: str) -> ZoneInfo:
    try:
        return ZoneInfo(key)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise TypeMismatch(f"the time zone {key!r:.80} is not known here: install the package tzdata") from None
