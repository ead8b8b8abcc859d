"""Limits: their texts, and the admission decision, compared with plain counting."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow import Limit
from stepflow.drivers.port.turns import admitted
from stepflow.model.limits import LimitUsage, admission, after_start, due_of, dump, parse

MS = 1_000
limits = st.builds(
    Limit, st.sampled_from("abc"), st.none() | st.integers(1, 3), rate=st.integers(1, 3), per=st.just(0.01)
)
several = st.lists(limits, max_size=3, unique_by=lambda limit: limit.key)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"key": ""}, "1 to 200"),
        ({"key": "x" * 201, "concurrency": 1}, "1 to 200"),
        ({"key": "a\0b", "concurrency": 1}, "printable"),
        ({"key": 7, "concurrency": 1}, "printable"),
        ({"key": "k"}, "limits nothing"),
        ({"key": "k", "per": 3}, "limits nothing"),
        ({"key": "k", "concurrency": 0}, "concurrency=0"),
        ({"key": "k", "concurrency": True}, "concurrency=True"),
        ({"key": "k", "concurrency": 1.5}, "concurrency=1.5"),
        ({"key": "k", "rate": -1}, "rate=-1"),
        ({"key": "k", "rate": 1, "per": 0}, "per=0"),
        ({"key": "k", "rate": 1, "per": math.nan}, "per=nan"),
        ({"key": "k", "rate": 1, "per": timedelta(days=32)}, "31 days"),
        ({"key": "k", "rate": 1, "per": "10"}, "per='10'"),
    ],
)
def test_a_limit_that_makes_no_sense_says_so(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Limit(**arguments)  # type: ignore[arg-type]


@given(several)
def test_a_text_is_canonical_and_comes_back(given: list[Limit]) -> None:
    assert dump(reversed(given)) == dump(given)
    assert sorted(parse(dump(given)), key=lambda limit: limit.key) == sorted(given, key=lambda limit: limit.key)


def test_the_limits_of_a_run_that_has_started() -> None:
    text = dump([Limit("b", rate=3, per=timedelta(minutes=1)), Limit("a", 2, rate=1)])
    assert text == '[["a", 2, 1, 1000000], ["b", null, 3, 60000000]]'
    assert after_start(text) == '[["a", 2]]'
    assert after_start(dump([Limit("b", rate=3)])) == after_start("") == ""


@given(
    st.lists(st.tuples(several, st.integers(0, 1)), max_size=12),
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 3)),
    st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(80 * MS, 100 * MS), max_size=5).map(sorted)),
    st.integers(0, 12),
)
def test_admission_is_greedy_and_never_exceeds_a_limit(waiting, held, begun, most) -> None:
    now = 100 * MS
    limit_usage = LimitUsage(
        {key: ["x"] * n for key, n in held.items()}, {key: list(times) for key, times in begun.items()}
    )
    rows = [
        ((priority, 0, f"r{number:02}"), "f", dump(given), None) for number, (given, priority) in enumerate(waiting)
    ]
    share = dict(held)
    recent = {key: sum(at > now - 10 * MS for at in times) for key, times in begun.items()}
    expected = []
    for (_priority, _due, name), _flow, text, _none in sorted(rows):
        fits = all(
            (one.concurrency is None or share.get(one.key, 0) < one.concurrency) and recent.get(one.key, 0) < one.rate
            for one in parse(text)
        )
        if fits and len(expected) < most:
            expected.append(name)
            for one in parse(text):
                share[one.key], recent[one.key] = share.get(one.key, 0) + 1, recent.get(one.key, 0) + 1
    chosen, known = admitted(rows[::-1], ["f"], limit_usage, now, most)
    assert [order[2] for order, *_rest in chosen] == expected
    assert known


@given(
    several, st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(80 * MS, 105 * MS), max_size=6).map(sorted))
)
def test_a_refusal_names_the_first_moment_at_which_it_is_over(given, begun) -> None:
    text, limit_usage, now = dump(given), LimitUsage(begun=begun), 100 * MS
    found = admission(text, limit_usage, now)
    if found.free:
        assert due_of(now - 5, text, limit_usage, now) == now - 5
    else:
        assert found.limit in given
        assert found.until is not None
        assert found.until > now
        assert not admission(text, limit_usage, found.until - 1).free
        assert admission(text, limit_usage, found.until).free
        assert due_of(now - 5, text, limit_usage, now) == found.until


def test_a_run_refused_by_a_concurrency_limit_is_admitted_after_a_release() -> None:
    text = dump([Limit("k", 1, rate=1)])
    limit_usage = LimitUsage(held={"k": ["x"]}, begun={"k": [0]})
    assert admission(text, limit_usage, 10).until is None
    assert due_of(5, text, limit_usage, 10) is None
    assert due_of(11, text, limit_usage, 10) == 11  # its own time comes first
