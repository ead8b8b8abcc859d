"""RetryPolicy: pure, bounded, and clear about bad values."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow.model.retry import RetryPolicy


def test_the_defaults():
    policy = RetryPolicy(jitter=0)
    assert [policy.delay_s(n) for n in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [policy.allows(n, ValueError()) for n in (1, 2, 3, 4)] == [True, True, False, False]


def test_only_the_named_errors_are_allowed():
    assert RetryPolicy(on=LookupError).allows(1, KeyError())
    assert not RetryPolicy(on=LookupError).allows(1, ValueError())
    assert RetryPolicy(on=(KeyError, ValueError)).allows(1, ValueError())
    assert not RetryPolicy().allows(1, KeyboardInterrupt())


delays = st.floats(0, 1e6)


@given(st.integers(1, 10**6), delays, st.floats(0, 100), delays, st.floats(0, 1), st.text())
def test_a_delay_is_never_negative_and_stays_near_its_limit(attempt, delay, factor, limit, jitter, key):
    policy = RetryPolicy(delay=delay, factor=factor, max_delay=limit, jitter=jitter)
    found = policy.delay_s(attempt, key)
    assert 0 <= found <= limit * (1 + jitter)
    assert policy.delay_s(attempt, key) == found


@given(st.integers(1, 50), st.text(), st.floats(0.01, 0.9))
def test_jitter_moves_a_delay_by_its_share_at_most(attempt, key, jitter):
    plain = RetryPolicy(jitter=0).delay_s(attempt)
    assert abs(RetryPolicy(jitter=jitter).delay_s(attempt, key) - plain) <= plain * jitter * 1.000001


def test_jitter_depends_on_the_key_and_the_attempt():
    policy = RetryPolicy(delay=1, factor=1, jitter=0.5)
    assert len({policy.delay_s(1, f"run-{n}") for n in range(50)}) > 40
    assert len({policy.delay_s(n, "run") for n in range(1, 50)}) > 40


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_attempts", 0),
        ("max_attempts", 1.5),
        ("max_attempts", True),
        ("max_attempts", "3"),
        ("delay", -1),
        ("delay", float("nan")),
        ("factor", float("inf")),
        ("max_delay", -0.1),
        ("jitter", -0.5),
        ("jitter", 5),
        ("max_delay", timedelta(seconds=-1)),
        ("on", ValueError()),
        ("on", ()),
        ("on", (ValueError, 3)),
        ("on", KeyboardInterrupt),
        ("on", "ValueError"),
    ],
)
def test_bad_values_are_named(field: str, value: Any):
    with pytest.raises(ValueError, match=f"{field}="):
        RetryPolicy(**{field: value})


@pytest.mark.parametrize("field", ["delay", "factor", "max_delay", "jitter"])
@pytest.mark.parametrize("value", ["1", None, [1], True])
def test_numbers_must_be_numbers(field: str, value: Any):
    with pytest.raises(ValueError, match=f"^{field}=.*: give "):
        RetryPolicy(**{field: value})


def test_delays_may_be_timedeltas_and_are_kept_in_seconds():
    policy = RetryPolicy(delay=timedelta(minutes=1), max_delay=timedelta(hours=1), jitter=0)
    assert policy == RetryPolicy(delay=60, max_delay=3600, jitter=0)
    assert [policy.delay_s(n) for n in (1, 2, 9)] == [60, 120, 3600]
