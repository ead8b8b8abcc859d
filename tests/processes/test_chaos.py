"""Chaos test with kills and stops on one SQLite file."""

from __future__ import annotations

import pytest

from tests.processes.chaos import chaos
from tests.processes.checks import check_effects, check_file, lost
from tests.processes.flows import CHAIN
from tests.processes.harness import Entry, Nursery


def test_a_storm(nursery: Nursery) -> None:
    chaos(nursery, lasts_s=4, seed=1)
    check_file(nursery.path)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_minute_of_storm(nursery: Nursery) -> None:
    chaos(nursery, lasts_s=40, seed=2)
    check_file(nursery.path)


def test_a_step_that_came_too_late_is_that_of_the_worker_that_was_stopped() -> None:
    effects = [Entry(n, "one" if n == 0 else "two", "step", "run-1", f"s{n:02}") for n in range(CHAIN)]
    effects.append(Entry(CHAIN, "one", "step", "run-1", "s01"))  # it goes on where it was
    log = [
        Entry(CHAIN, "one", "log", note="run run-1: this worker does not go on with it: the claim is gone"),
        Entry(0, "two", "log", note=""),
    ]
    assert check_effects(effects, ["run-1"], ["one"], 1, lost(log)) == 1
    with pytest.raises(AssertionError, match="'two'"):
        check_effects(effects, ["run-1"], ["one"], 1)
    with pytest.raises(AssertionError, match="'one'"):
        check_effects(effects, ["run-1"], ["two"], 1, lost(log))
