"""Watchers of one SQLite file in several processes: every revision once, and soon."""

from __future__ import annotations

from statistics import median

import pytest

from tests.processes.harness import NEVER_S, Nursery
from tests.processes.watched import hearing, watch_storm


def test_watchers_in_other_processes_neither_miss_nor_repeat(nursery: Nursery) -> None:
    watch_storm(nursery, committers=3, count=12, engines=1)


def test_a_commit_is_pushed_to_watchers_here_and_elsewhere(nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepflow.engine.states.watch.POLL_S", NEVER_S)
    hearing(nursery, 25, NEVER_S)


@pytest.mark.soak
def test_watchers_storm(nursery: Nursery) -> None:
    watch_storm(nursery, committers=8, count=500, engines=2)


@pytest.mark.soak
def test_hearing(nursery: Nursery) -> None:
    _here, there = hearing(nursery, 300)
    assert median(there) < 0.05
