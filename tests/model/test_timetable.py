"""The ticks of a cron expression in a time zone: ascending, equal to a brute-force search, and right where clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from functools import cache
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepflow.errors import StepflowError
from stepflow.model.cron import Cron, parse_cron
from stepflow.model.timetable import EPOCH, CronTimes, jitter_of, last_before, tick_text, ticks, times_of, zone_of
from tests.model.test_cron import cron_of, fields, micros

MINUTE = 60_000_000
DAY = 1440 * MINUTE
ZONES = (
    "Europe/Berlin", "America/New_York", "America/St_Johns", "Australia/Lord_Howe", "America/Santiago", "Asia/Kathmandu",
    "Africa/Casablanca", "Asia/Tehran", "Pacific/Apia", "America/Sao_Paulo", "Asia/Beirut", "Africa/Cairo", "Europe/Dublin",
    "Antarctica/Troll", "America/Havana", "Asia/Gaza", "Pacific/Chatham", "America/Caracas", "Asia/Pyongyang", "UTC",
    "America/Asuncion", "Africa/El_Aaiun", "America/Scoresbysund", "Pacific/Norfolk", "Europe/Istanbul", "Asia/Kolkata",
)  # fmt: skip


def local(instant: int, zone: str) -> datetime:
    return (EPOCH + timedelta(microseconds=instant)).astimezone(zone_of(zone)).replace(tzinfo=None, fold=0)


@cache
def changes(zone: str, year: int) -> list[int]:
    """The days of a year on which the clocks of a zone are changed, in microseconds."""
    start = micros(datetime(year, 1, 1, tzinfo=UTC))
    days = [start + n * DAY for n in range(366)]
    return [day for day in days if local(day + DAY, zone) - local(day, zone) != timedelta(days=1)]


@st.composite
def windows(draw: st.DrawFn) -> tuple[str, int]:
    """A zone, and a time from which to look: mostly near a change of the clocks."""
    zone, year = draw(st.sampled_from(ZONES)), draw(st.integers(1985, 2035))
    days = changes(zone, year) or [micros(datetime(year, 3, 1, tzinfo=UTC))]
    return zone, draw(st.sampled_from(days)) - DAY + draw(st.integers(0, 2 * 1440)) * MINUTE


def brute_force(cron: Cron, zone: str, start: int, end: int) -> list[int]:
    """The ticks in (start, end], by looking at each minute."""
    shown = [(at, local(at, zone)) for at in range(start - 2 * DAY, end + 1, MINUTE)]
    if cron.every_hour:
        return [at for at, reading in shown if at > start and cron.matches(reading)]
    first: dict[datetime, int] = {}
    for at, reading in shown:
        first.setdefault(reading, at)
    found = {at for reading, at in first.items() if cron.matches(reading)} | skipped(cron, shown)
    return sorted(at for at in found if start < at <= end)


def skipped(cron: Cron, shown: list[tuple[int, datetime]]) -> set[int]:
    """The ends of the gaps that hide a match."""
    found = set()
    for (_before, early), (at, late) in pairwise(shown):
        hidden = (early + timedelta(minutes=n) for n in range(1, (late - early) // timedelta(minutes=1)))
        if any(cron.matches(minute) for minute in hidden):
            found.add(at)
    return found


DAILY = st.tuples(st.integers(0, 59), st.integers(0, 4)).map(lambda at: f"{at[0]} {at[1]} * * *")
CLOSE = st.tuples(st.sampled_from(["*", "*/20", "0", "30", "15,45"]), st.sampled_from(["*", "2", "0-3", "1,2", "*/2"]))


@settings(deadline=None, max_examples=25)
@given(st.one_of(DAILY, CLOSE.map(lambda part: f"{part[0]} {part[1]} * * *"), fields()), windows())
def test_ticks_are_those_of_a_brute_force_search(text: str, window: tuple[str, int]) -> None:
    cron, (zone, start) = cron_of(text), window
    if cron is None:
        return
    end = start + DAY
    found = list(ticks(CronTimes(cron, zone_of(zone)), start, end))
    assert found == brute_force(cron, zone, start, end)
    assert found == sorted(set(found))


@settings(deadline=None, max_examples=25)
@given(st.one_of(DAILY, fields()), windows(), st.integers(1, 20 * DAY))
def test_the_last_tick_before_a_time_is_the_one_that_no_other_follows(
    text: str, window: tuple[str, int], length: int
) -> None:
    cron, (zone, start) = cron_of(text), window
    if cron is None or (found := list(islice(ticks(CronTimes(cron, zone_of(zone)), start, start + length), 200))) == []:
        return
    end = found[-1] + 1
    assert last_before(CronTimes(cron, zone_of(zone)), found[0], end) == found[-1]


@settings(deadline=None, max_examples=30)
@given(DAILY, windows())
def test_a_daily_time_has_one_tick_for_each_date(text: str, window: tuple[str, int]) -> None:
    cron, (zone, start) = parse_cron(text), window
    first = local(start, zone).date() + timedelta(days=1)
    dates = [first + timedelta(days=n) for n in range(6)]
    minute, hour = cron.minutes[0], cron.hours[0]
    until = micros(datetime(dates[-1].year, dates[-1].month, dates[-1].day, tzinfo=UTC)) + 2 * DAY
    found = list(ticks(CronTimes(cron, zone_of(zone)), start, until))
    readings = [local(at, zone) for at in found]
    for day in dates:
        wanted = datetime.combine(day, time(hour, minute))
        exact = [at for at, reading in zip(found, readings, strict=True) if reading == wanted]
        if exact:
            assert len(exact) == 1
            assert all(
                local(earlier, zone) != wanted for earlier in range(exact[0] - 3 * 60 * MINUTE, exact[0], MINUTE)
            )
        else:  # the clocks skipped it: due when they were put forward over it
            assert any(local(at - 1, zone) < wanted < local(at, zone) for at in found)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(["@hourly", "*/15 * * * *", "7 0-23 * * *"]), windows())
def test_an_expression_of_each_hour_goes_by_elapsed_time(text: str, window: tuple[str, int]) -> None:
    zone, start = window
    cron = parse_cron(text)
    found = list(ticks(CronTimes(cron, zone_of(zone)), start, start + DAY))
    assert all(cron.matches(local(at, zone)) for at in found)
    for early, late in pairwise(found):
        moved = local(late, zone) - local(early, zone) - timedelta(microseconds=late - early)
        assert late - early <= (119 if moved % timedelta(hours=1) else 60) * MINUTE


@pytest.mark.parametrize(
    ("text", "zone", "start", "expected"),
    [
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["2026-03-29T01:00", "2026-03-30T00:30"]),
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", ["2026-10-25T00:30", "2026-10-26T01:30"]),
        ("*/20 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["2026-03-29T01:00", "2026-03-30T00:00"]),
        (
            "30 * * * *",
            "Europe/Berlin",
            "2026-10-24T23:45Z",
            ["2026-10-25T00:30", "2026-10-25T01:30", "2026-10-25T02:30"],
        ),
        ("0 0 * * *", "America/Santiago", "2026-09-05T12:00Z", ["2026-09-06T04:00", "2026-09-07T03:00"]),
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00Z", ["2026-10-03T15:30", "2026-10-04T15:15"]),
        ("0 * * * *", "Asia/Kathmandu", "2026-04-04T00:00Z", ["2026-04-04T00:15", "2026-04-04T01:15"]),
        ("0 9 * * *", "Pacific/Apia", "2011-12-29T20:00Z", ["2011-12-30T10:00", "2011-12-30T19:00"]),
    ],
)
def test_literal_ticks(text: str, zone: str, start: str, expected: list[str]) -> None:
    at, times = micros(datetime.fromisoformat(start)), times_of(text, 0, zone, 0)
    found = []
    for _ in expected:
        following = times.after(at)
        assert following is not None
        at = following
        found.append(tick_text(at))
    assert found == [f"{one}:00Z" for one in expected]


@pytest.mark.parametrize(
    ("tz", "why"),
    [
        ("Europe/berlim", "did you mean 'Europe/Berlin'"),
        ("America", "give an IANA name"),
        ("../etc/passwd", "give an IANA name"),
        ("", "give an IANA name"),
        ("localtime", "give an IANA name"),  # that of the machine which looks at it
        ("Factory", "give an IANA name"),
        ("right/Europe/Berlin", "did you mean 'Europe/Berlin'"),  # counts leap seconds
        (ZoneInfo("Europe/Berlin"), "as text"),
        (None, "as text"),
    ],
)
def test_zones_that_do_not_exist_are_refused(tz: object, why: str) -> None:
    with pytest.raises(StepflowError, match=r"^tz=") as error:
        zone_of(tz)
    assert why in str(error.value)


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Asia/Tokyo", "UTC"])
def test_the_calendar_begins(zone: str) -> None:
    times, first = times_of("0 0 * * *", 0, zone, 0), micros(datetime.min.replace(tzinfo=UTC))
    found = times.after(first - 1)
    assert found is not None
    assert first < found < first + 5 * DAY


@given(st.text("aé@/", max_size=5), st.integers(0, 1 << 52), st.integers(1, 10**12))
def test_jitter_is_below_its_limit_and_follows_from_schedule_and_tick(name: str, tick: int, most: int) -> None:
    found = jitter_of(name, tick, most)
    assert 0 <= found < most
    assert found == jitter_of(name, tick, most)


def test_jitter_spreads_and_its_numbers_do_not_change() -> None:
    found = [jitter_of("nightly", day * DAY, 60 * MINUTE) // MINUTE for day in range(200)]
    assert len(set(found)) > 40
    assert jitter_of("nightly", 0, 0) == 0
    assert jitter_of("nightly", DAY, 60 * MINUTE) == JITTER


JITTER = 110_726_385


def test_the_text_of_a_tick() -> None:
    assert tick_text(micros(datetime(2026, 3, 29, 1, 0, tzinfo=UTC))) == "2026-03-29T01:00:00Z"
    assert tick_text(micros(datetime(2026, 3, 29, 1, 0, 0, 250_000, tzinfo=UTC))) == "2026-03-29T01:00:00.250000Z"


@pytest.mark.parametrize(
    ("given", "meant"),
    [("europe/berlin", "'Europe/Berlin'"), ("est", "'EST'"), ("CEST", ""), ("PDT", ""), ("IST", ""), ("AEST", "")],
)
def test_no_abbreviation_is_suggested_for_another_one(given: str, meant: str) -> None:
    with pytest.raises(StepflowError, match="there is no such time zone: give an IANA name") as raised:
        zone_of(given)
    assert str(raised.value).partition("did you mean ")[2] == (f"{meant}?" if meant else "")
