"""RetryPolicy: pure, bounded, and clear about bad values."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow.errors import Terminal
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


@given(st.integers(1, 10**7), st.sampled_from([0, 5e-324, 1e-300, 1, 1e300]), st.floats(0, 1e6))
def test_a_delay_is_the_formula_also_where_its_power_has_no_float(attempt, delay, factor):
    found = RetryPolicy(delay=delay, factor=factor, max_delay=60, jitter=0).delay_s(attempt)
    exact = Fraction(delay) and (Fraction(factor) ** min(attempt - 1, 3000)) * Fraction(delay)
    capped = min(exact, Fraction(60))
    if attempt <= 3001:
        assert found == pytest.approx(float(capped), rel=1e-6)
    if delay == 0:
        assert found == 0


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


@pytest.mark.parametrize(("given", "limit"), [(1, 60), (60, 60), (600, 600), (timedelta(hours=1), 3600)])
def test_a_delay_is_not_cut_by_a_limit_that_was_not_given(given, limit):
    policy = RetryPolicy(delay=given, jitter=0)
    assert policy.max_delay == limit
    assert policy.delay_s(1) == RetryPolicy(delay=given, max_delay=1e9, jitter=0).delay_s(1)
    assert policy.delay_s(5000) == limit


@pytest.mark.parametrize("attempt", [1, 1024, 1025, 10**6])
def test_no_delay_is_none_at_any_attempt(attempt):
    assert RetryPolicy(delay=0).delay_s(attempt) == 0


def test_a_group_is_retried_if_all_its_errors_are():
    policy = RetryPolicy(on=(ConnectionError, ValueError))
    inner = ExceptionGroup("inner", [ValueError(), ConnectionResetError()])
    assert policy.allows(1, ExceptionGroup("outer", [inner, ConnectionError()]))
    assert not policy.allows(1, ExceptionGroup("outer", [inner, KeyError()]))
    assert not policy.allows(1, BaseExceptionGroup("outer", [inner, SystemExit()]))
    assert RetryPolicy(on=ExceptionGroup).allows(1, ExceptionGroup("any", [KeyError()]))


def in_group(inner: list[Exception]) -> Exception:
    return ExceptionGroup("group", inner)


def raised_from(pair: tuple[Exception, Exception]) -> Exception:
    error, error.__cause__ = RuntimeError("wrapped"), pair[0]
    return ExceptionGroup("both", [error, pair[1]])


plain_errors = st.sampled_from([ValueError, OSError]).map(lambda kind: kind())


def nested(leaves: st.SearchStrategy[Exception]) -> st.SearchStrategy[Exception]:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, min_size=1, max_size=3).map(in_group) | st.tuples(inner, inner).map(raised_from),
        max_leaves=6,
    )


@given(nested(plain_errors), st.sampled_from(["alone", "cause", "group"]))
def test_a_terminal_error_anywhere_is_never_retried(other, where):
    policy = RetryPolicy(max_attempts=9)
    assert policy.allows(1, other)
    stop = Terminal("no")
    error = {"alone": stop, "cause": raised_from((stop, other)), "group": in_group([other, in_group([stop])])}[where]
    assert not policy.allows(1, error)
    assert not RetryPolicy(on=(ExceptionGroup, Terminal)).allows(1, error)


def test_a_circle_of_causes_has_an_end():
    one, other = ValueError("one"), KeyError("other")
    one.__cause__, other.__cause__ = other, one
    assert RetryPolicy().allows(1, one)


@pytest.mark.parametrize("on", [BaseException, SystemExit, (OSError, KeyboardInterrupt), "OSError", ()])
def test_only_classes_of_exception_may_be_retried(on: Any) -> None:
    with pytest.raises(ValueError, match="give a subclass of Exception or a tuple of them; nothing else"):
        RetryPolicy(on=on)
