"""The grammar of cron expressions: what is accepted, what it means in UTC, and how the rest is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow.errors import StepflowError
from stepflow.model.cron import FIELDS, Cron, interval_of, parse_cron
from stepflow.model.timetable import EPOCH, CronTimes, times_of


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def after(text: str, *start: int) -> datetime:
    """The tick after a time in 2026 (month, day, hour, minute), in UTC."""
    tick = CronTimes(parse_cron(text), UTC).after(micros(datetime(2026, *start, tzinfo=UTC)))
    assert tick is not None
    return EPOCH + timedelta(microseconds=tick)


@pytest.mark.parametrize(
    ("text", "start", "expected"),
    [
        ("* * * * *", (3, 12, 10, 30, 15), (2026, 3, 12, 10, 31)),
        ("30 9 * * *", (3, 12, 8, 0), (2026, 3, 12, 9, 30)),
        ("30 9 * * *", (3, 12, 10, 0), (2026, 3, 13, 9, 30)),
        ("*/5 * * * *", (3, 12, 10, 12), (2026, 3, 12, 10, 15)),
        ("0 9 * * 1", (3, 12, 10, 0), (2026, 3, 16, 9, 0)),
        ("0 0 1 * *", (3, 15, 0, 0), (2026, 4, 1, 0, 0)),
        ("0 0 1 1 *", (3, 12, 0, 0), (2027, 1, 1, 0, 0)),
        ("0 9-17 * * 1-5", (3, 14, 8, 0), (2026, 3, 16, 9, 0)),
        ("0,15,30,45 * * * *", (3, 12, 10, 16), (2026, 3, 12, 10, 30)),
        ("0 9 * * 7", (3, 12, 10, 0), (2026, 3, 15, 9, 0)),
        ("0 0 15 * 1", (3, 12, 0, 0), (2026, 3, 15, 0, 0)),
        ("0 0 15 * 1", (3, 15, 0, 0), (2026, 3, 16, 0, 0)),
        ("1-30/10 * * * *", (3, 12, 10, 5), (2026, 3, 12, 10, 11)),
        ("5/20 * * * *", (3, 12, 10, 5), (2026, 3, 12, 10, 25)),
        ("0 0 * * *", (12, 31, 23, 59), (2027, 1, 1, 0, 0)),
        ("0 9 * * *", (3, 12, 9, 30), (2026, 3, 13, 9, 0)),
        ("0 0 29 2 *", (3, 12, 0, 0), (2028, 2, 29, 0, 0)),
        ("0 0 */2 * 1", (3, 12, 0, 0), (2026, 3, 13, 0, 0)),
        ("0 9 * JAN,Jul Mon-Fri", (3, 12, 0, 0), (2026, 7, 1, 9, 0)),
        ("0 9 * * sat-sun", (3, 14, 10, 0), (2026, 3, 15, 9, 0)),
        ("0 9 * * sun-sun", (3, 12, 10, 0), (2026, 3, 15, 9, 0)),
        (" @daily ", (3, 12, 10, 0), (2026, 3, 13, 0, 0)),
        ("@Weekly", (3, 12, 10, 0), (2026, 3, 15, 0, 0)),
        ("@yearly", (3, 12, 10, 0), (2027, 1, 1, 0, 0)),
        ("@monthly", (3, 12, 10, 0), (2026, 4, 1, 0, 0)),
        ("@hourly", (3, 12, 10, 0), (2026, 3, 12, 11, 0)),
    ],
)
def test_the_next_tick(text: str, start: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert after(text, *start) == datetime(*expected, tzinfo=UTC)  # type: ignore[arg-type,misc]


def test_the_29th_of_february_waits_for_as_long_as_it_takes() -> None:
    cron = CronTimes(parse_cron("0 0 29 2 *"), UTC)
    assert cron.after(micros(datetime(2096, 3, 1, tzinfo=UTC))) == micros(datetime(2104, 2, 29, tzinfo=UTC))


def test_the_calendar_ends() -> None:
    cron = CronTimes(parse_cron("0 0 1 1 *"), UTC)
    assert cron.after(micros(datetime(9998, 6, 1, tzinfo=UTC))) == micros(datetime(9999, 1, 1, tzinfo=UTC))
    assert cron.after(micros(datetime(9999, 6, 1, tzinfo=UTC))) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("* * *", "it has 3 fields, not five"),
        ("* * * * * *", "every="),
        ("", "0 fields"),
        ("60 * * * *", "60 is outside of 0-59"),
        ("0 24 * * *", "24 is outside of 0-23"),
        ("0 0 0 * *", "0 is outside of 1-31"),
        ("0 0 * 13 *", "13 is outside of 1-12"),
        ("0 0 * * 8", "8 is outside of 0-7"),
        ("*/0 * * * *", "above 0"),
        ("*/x * * * *", "above 0"),
        ("1/ * * * *", "above 0"),
        ("abc * * * *", "'abc' is no minute"),
        ("jan * * * *", "'jan' is no minute"),
        ("0 0 * mon *", "jan-dec"),
        ("5-2 * * * *", "5 is after 2"),
        ("1,,2 * * * *", "'' is no minute"),
        ("*-5 * * * *", "is no minute"),
        ("\u0661 * * * *", "is no minute"),
        ("0 0 ? * *", "is no day of month"),
        ("0 0 L * *", "is no day of month"),
        ("0 0 * * 1#2", "is no day of week"),
        ("99999999999 * * * *", "is no minute"),
        ("@fortnightly", "@weekly"),
        ("0 0 30 2 *", "no month that it names has a day 30"),
        ("0 0 31 4,6,9,11 *", "no month that it names has a day 31"),
        (5, "give a text"),
        (None, "give a text"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: object, why: str) -> None:
    with pytest.raises(StepflowError, match=r"^cron=") as error:
        parse_cron(text)
    assert why in str(error.value)
    assert repr(text)[:100] in str(error.value)


def test_an_impossible_day_is_fine_beside_a_day_of_week() -> None:
    assert after("0 0 31 2 1", 2, 1, 0, 0) == datetime(2026, 2, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@every 5m", 300_000_000),
        ("@every 1h30m", 5_400_000_000),
        ("@every 1.5h", 5_400_000_000),
        ("@every .5s", 500_000),
        (" @Every  500ms ", 500_000),
        ("@every 1us", 1),
        ("@every 1500ns", 1),
        ("* * * * *", None),
        ("@daily", None),
    ],
)
def test_every(text: str, expected: int | None) -> None:
    assert interval_of(text) == expected


@pytest.mark.parametrize("rest", ["-1s", "0s", "abc", "", "5", "5 m", "1h-5m", "1ns", "1d"])
def test_no_duration(rest: str) -> None:
    with pytest.raises(StepflowError, match="give a duration above 0 after @every"):
        interval_of(f"@every {rest}")


def test_intervals_count_from_their_anchor() -> None:
    times = times_of("", 30, "UTC", 100)
    assert [times.after(at) for at in (0, 99, 100, 129, 130, 131, 1_000)] == [130, 130, 130, 130, 160, 160, 1_030]


def fields() -> st.SearchStrategy[str]:
    def one(first: int, last: int) -> st.SearchStrategy[str]:
        number = st.integers(first, last)
        ranges = st.tuples(number, number).map(sorted).map(lambda ends: f"{ends[0]}-{ends[1]}")
        bases = st.just("*") | number.map(str) | ranges
        items = st.one_of(bases, st.tuples(bases, st.integers(1, 40)).map(lambda part: f"{part[0]}/{part[1]}"))
        return st.just("*") | st.lists(items, min_size=1, max_size=3).map(",".join)

    return st.tuples(*[one(field.first, field.last) for field in FIELDS]).map(" ".join)


def cron_of(text: str) -> Cron | None:
    """The expression; None for the one reason for which fields that are right are refused together."""
    try:
        return parse_cron(text)
    except StepflowError as error:
        if "no month that it names" not in str(error):
            raise
        return None


def naive_values(item: str, first: int, last: int) -> set[int]:
    """The values of a field, by trying each of them."""
    found = set()
    for part in item.split(","):
        base, _, step = part.partition("/")
        low, _, high = base.partition("-")
        start, end = (first, last) if base == "*" else (int(low), int(high or (last if step else low)))
        found |= {n for n in range(first, last + 1) if start <= n <= end and (n - start) % int(step or 1) == 0}
    return found


@given(fields(), st.dates(date(2020, 1, 1), date(2032, 12, 31)), st.integers(0, 1439))
def test_a_minute_matches_as_each_field_says(text: str, day: date, minute: int) -> None:
    cron = cron_of(text)
    if cron is None:
        return
    wanted = [
        naive_values(part, field.first, 6 if part.startswith("*") and field.last == 7 else field.last)
        for field, part in zip(FIELDS, text.split(), strict=True)
    ]
    local = datetime.combine(day, time(minute // 60, minute % 60))
    of_month, of_week = day.day in wanted[2], bool({day.isoweekday(), day.isoweekday() % 7} & wanted[4])
    restricted = [part != "*" for part in text.split()]
    days = (of_month or of_week) if restricted[2] and restricted[4] else (of_month and of_week)
    expected = local.minute in wanted[0] and local.hour in wanted[1] and day.month in wanted[3] and days
    assert cron.matches(local) == expected
    assert parse_cron(cron.text) == cron
