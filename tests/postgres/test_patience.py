"""Which beats stood still, and for how long one has to wait before that may be said."""

from __future__ import annotations

from itertools import count

import pytest

from stepflow.drivers.postgres import stall_detector as patience
from stepflow.drivers.postgres.stall_detector import StallDetector
from tests.processes.harness import eventually

NEVER_S = 1e6


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> StallDetector:
    """Waits hardly at all for owners whose lock was seen held, and for ever for the others."""
    monkeypatch.setattr(patience, "SURE_S", 0.001)
    monkeypatch.setattr(patience, "QUIET_S", NEVER_S)
    return StallDetector()


def test_only_an_owner_whose_lock_was_seen_is_judged_soon(quick: StallDetector) -> None:
    beat = count()
    assert quick.observe("boot", {"seen": 1, "new": 1, "beating": next(beat)}) == set()
    quick.held(["seen", "beating"])
    eventually(lambda: quick.observe("boot", {"seen": 1, "new": 1, "beating": next(beat)}) == {"seen"})
    quick.close()


def test_a_restart_of_the_server_begins_anew(quick: StallDetector) -> None:
    quick.observe("boot", {"a": 1})
    quick.held(["a"])
    eventually(lambda: quick.observe("boot", {"a": 1}) == {"a"})
    assert quick.observe("another boot", {"a": 1}) == set()
    quick.held(["a"])
    eventually(lambda: quick.observe("another boot", {"a": 1}) == {"a"})
    quick.close()


def test_whoever_was_gone_for_a_look_is_new(quick: StallDetector) -> None:
    quick.observe("boot", {"a": 1})
    quick.held(["a"])
    eventually(lambda: quick.observe("boot", {"a": 1}) == {"a"})
    quick.observe("boot", {"b": 1})
    assert quick.observe("boot", {"a": 1}) == set()
    quick.close()
