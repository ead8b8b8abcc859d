"""A million rows in the queue of one SQLite file."""

from __future__ import annotations

from statistics import median

import pytest

from tests.processes.crowds import crowd
from tests.processes.harness import Nursery


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_urgent_runs_are_done_at_once_beside_a_million_others(nursery: Nursery) -> None:
    assert median(crowd(nursery, rows=1_000_000, workers=2)) < 1
