"""Several workers on one file: they share the runs, and killing any of them loses and repeats nothing else."""

from __future__ import annotations

import pytest

from tests.processes.checks import check_file
from tests.processes.harness import Nursery
from tests.processes.shares import share, succession


@pytest.mark.parametrize("name", ["sync_chain", "async_chain"])
def test_four_workers_share_the_runs_and_any_may_be_killed(nursery: Nursery, name: str) -> None:
    share(nursery, name, runs=150, workers=4, kills=2, seed=7)
    check_file(nursery.path)


def test_the_runs_of_a_killed_worker_go_on_at_once(nursery: Nursery) -> None:
    succession(nursery, within=6)  # two, on a machine that does nothing else


@pytest.mark.soak
@pytest.mark.parametrize("name", ["sync_chain", "async_chain"])
def test_workers_storm(nursery: Nursery, name: str) -> None:
    share(nursery, name, runs=3000, workers=6, kills=30, seed=5)
    check_file(nursery.path)
