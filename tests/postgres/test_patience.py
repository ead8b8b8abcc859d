"""Which beats stood still, and for how long that must be seen before it counts."""

from __future__ import annotations

from itertools import count

from stepflow.drivers.postgres.stall_detector import QUIET_S, SURE_S, StallDetector

SHORT_S = 0.001


def test_an_owner_that_took_its_lock_under_this_start_of_the_server_is_judged_earlier() -> None:
    detector, beat = StallDetector(), count()

    def still(mono: float) -> set[str]:
        return detector.observe(
            "boot", {"sure": (1, "boot"), "old": (1, "before"), "beating": (next(beat), "boot")}, mono
        )

    assert still(5.0) == set()
    assert still(5.0 + SURE_S - SHORT_S) == set()
    assert still(5.0 + SURE_S) == {"sure"}
    assert still(5.0 + QUIET_S - SHORT_S) == {"sure"}
    assert still(5.0 + QUIET_S) == {"sure", "old"}


def test_a_restart_of_the_server_begins_anew() -> None:
    detector = StallDetector()
    detector.observe("boot", {"a": (1, "boot")}, 0.0)
    assert detector.observe("boot", {"a": (1, "boot")}, SURE_S) == {"a"}
    assert detector.observe("another boot", {"a": (1, "boot")}, 9.0) == set()
    assert detector.observe("another boot", {"a": (1, "boot")}, 9.0 + SURE_S) == set()
    assert detector.observe("another boot", {"a": (1, "boot")}, 9.0 + QUIET_S) == {"a"}


def test_an_owner_that_was_gone_for_a_look_is_new() -> None:
    detector = StallDetector()
    detector.observe("boot", {"a": (1, "boot")}, 0.0)
    detector.observe("boot", {"b": (1, "boot")}, 1.0)
    assert detector.observe("boot", {"a": (1, "boot")}, 9.0) == set()


def test_a_beat_that_changed_begins_anew() -> None:
    detector = StallDetector()
    assert detector.observe("boot", {"a": (1, "boot")}, 0.0) == set()
    assert detector.observe("boot", {"a": (2, "boot")}, 9.0) == set()
    assert detector.observe("boot", {"a": (2, "boot")}, 9.0 + QUIET_S) == {"a"}
