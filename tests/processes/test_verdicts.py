"""The verdict over other owners, for arbitrary histories of heartbeats and looks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stepflow.drivers.port.commit import Owner, Peer
from stepflow.engine.membership.failure_detector import ALIVE_S, SILENCE_S, FailureDetector

GAP_S = 2.0
looks = st.lists(st.tuples(st.floats(0, 30), st.booleans()), min_size=1, max_size=40)  # seconds since the last, beaten?


@given(looks)
def test_only_silence_that_was_watched_means_death(looks: list[tuple[float, bool]]) -> None:
    judge, mono, beat, watched = FailureDetector(GAP_S), 100.0, 1, 0.0
    changed = False
    for number, (gap, beaten) in enumerate(looks):
        mono += gap
        beat += beaten
        if number:
            watched = 0.0 if beaten else watched + min(gap, GAP_S)
            changed = changed or beaten
        verdict = judge.observe([Peer(Owner("other", "host", 1, beat), "held")], mono)["other"]
        if watched >= SILENCE_S + 0.001:
            assert verdict == "dead"
        elif watched <= SILENCE_S - 0.001:
            assert verdict != "dead"
            assert verdict == "unknown" or (changed and watched < ALIVE_S)


@given(looks)
def test_a_free_lock_means_death_at_once_and_a_steady_beat_means_life(looks: list[tuple[float, bool]]) -> None:
    judge, mono, verdict = FailureDetector(GAP_S), 0.0, ""
    for number, (gap, _beaten) in enumerate(looks):
        mono += gap
        verdict = judge.observe([Peer(Owner("other", "host", 1, number), "held")], mono)["other"]
        assert verdict == ("alive" if number else "unknown")
    assert judge.observe([Peer(Owner("other", "host", 1, len(looks)), "free")], mono)["other"] == "dead"


def test_an_owner_that_is_new_is_given_all_of_its_time() -> None:
    judge = FailureDetector(GAP_S)
    for second in range(30):
        judge.observe([], float(second))
    old = Peer(Owner("other", "host", 1, 7), "unknown")
    verdicts = [judge.observe([old], 30.0 + second)["other"] for second in range(12)]
    assert verdicts == ["unknown"] * 10 + ["dead"] * 2


def doubts(*looks: tuple[str, int]) -> list[bool]:
    """After each look at one owner: whether the next one is worth while soon; given its lock and its beat."""
    judge, found = FailureDetector(GAP_S), []
    for second, (lock, beat) in enumerate(looks):
        judge.observe([Peer(Owner("other", "host", 1, beat), lock)], float(second))  # type: ignore[arg-type]
        found.append(judge.doubtful)
    return found


def test_a_lock_that_is_held_no_more_is_looked_at_again_soon() -> None:
    assert doubts(("held", 1), ("held", 2), ("unknown", 2), ("unknown", 2), ("free", 2)) == [0, 0, 1, 1, 0]
    assert doubts(("held", 1), ("unknown", 1), ("held", 2)) == [0, 1, 0]


def test_where_no_lock_tells_anything_only_new_owners_are_looked_at_soon() -> None:
    assert doubts(("unknown", 1), ("unknown", 1), ("unknown", 2), ("unknown", 2)) == [1, 1, 0, 0]
