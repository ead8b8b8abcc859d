"""The verdict over other owners: pure in what was seen and when."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow.drivers.port.commit import Owner, Peer
from stepflow.engine.membership.failure_detector import ALIVE_S, SILENCE_S, FailureDetector


def peer(beat: int, lock: str = "unknown", id_: str = "a") -> Peer:
    return Peer(Owner(id_, "host", 1, beat), lock)  # type: ignore[arg-type]


def verdicts(*looks: tuple[float, int, str], gap: float = math.inf) -> list[str]:
    judge = FailureDetector(gap)
    return [judge.observe([peer(beat, lock)], mono)["a"] for mono, beat, lock in looks]


def test_a_free_lock_is_death_at_once():
    assert verdicts((0, 5, "free")) == ["dead"]
    assert verdicts((0, 5, "held"), (0.5, 6, "free")) == ["unknown", "dead"]


@pytest.mark.parametrize("lock", ["held", "unknown"])
def test_a_silent_beat_is_death_after_a_while_and_a_held_lock_does_not_help(lock):
    looks = [(0.0, 5, lock), (SILENCE_S - 0.001, 5, lock), (SILENCE_S, 5, lock)]
    assert verdicts(*looks) == ["unknown", "unknown", "dead"]


def test_a_beat_that_changed_is_life():
    assert verdicts((0, 5, "held"), (0.5, 6, "held"), (2, 6, "held")) == ["unknown", "alive", "alive"]


def test_a_beat_that_changed_long_ago_tells_nothing():
    looks = [(0.0, 5, "held"), (0.5, 6, "held"), (0.4 + ALIVE_S, 6, "held"), (0.5 + ALIVE_S, 6, "held")]
    assert verdicts(*looks) == ["unknown", "alive", "alive", "unknown"]


def test_silence_is_counted_from_the_last_change():
    looks = [(0.0, 5, "held"), (9.0, 6, "held"), (18.9, 6, "held"), (19.0, 6, "held")]
    assert verdicts(*looks) == ["unknown", "alive", "unknown", "dead"]


def test_time_in_which_the_observer_was_stopped_does_not_count():
    looks = [(0.0, 5, "held"), (1.0, 5, "held"), (1000.0, 5, "held"), (1002.0, 5, "held")]
    assert verdicts(*looks, gap=2) == ["unknown"] * 4
    assert verdicts(*looks, (1007.0, 5, "held"), (1010.0, 5, "held"), (1013.0, 5, "held"), gap=3)[-1] == "dead"


def test_a_beat_may_change_to_any_value():
    assert verdicts((0, 5, "held"), (9, 1, "held"), (11, 1, "held")) == ["unknown", "alive", "alive"]


def test_one_that_was_gone_is_judged_anew():
    judge = FailureDetector(math.inf)
    judge.observe([peer(5)], 0)
    assert judge.observe([], 1) == {}
    assert judge.observe([peer(5)], 11) == {"a": "unknown"}


def test_owners_are_judged_one_by_one():
    judge = FailureDetector(math.inf)
    judge.observe([peer(1, id_="a"), peer(1, id_="b"), peer(1, id_="c")], 0)
    seen = judge.observe([peer(2, id_="a"), peer(1, id_="b"), peer(1, "free", "c"), peer(1, id_="d")], SILENCE_S)
    assert seen == {"a": "alive", "b": "dead", "c": "dead", "d": "unknown"}


@given(st.lists(st.tuples(st.floats(0, 9.999), st.integers(0, 2)), max_size=30))
def test_whoever_beats_within_the_time_never_dies(looks):
    judge, mono, beat = FailureDetector(), 0.0, 0
    judge.observe([peer(beat)], mono)
    for wait, more in looks:
        mono, beat = mono + wait, beat + 1 + more
        assert judge.observe([peer(beat, "held")], mono) == {"a": "alive"}


@given(st.lists(st.floats(0, 5), min_size=1, max_size=30), st.integers(0, 5))
def test_whoever_stopped_dies_at_the_first_look_after_the_time(waits, beat):
    judge, mono = FailureDetector(math.inf), 0.0
    judge.observe([peer(beat)], mono)
    for wait in waits:
        mono += wait
        assert (judge.observe([peer(beat)], mono)["a"] == "dead") == (mono >= SILENCE_S)
