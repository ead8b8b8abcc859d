"""A storm of kills and stops on one SQLite file."""

from __future__ import annotations

import pytest

from tests.processes.chaos import chaos
from tests.processes.checks import check_file
from tests.processes.harness import Nursery


def test_a_storm(nursery: Nursery) -> None:
    chaos(nursery, lasts_s=6, seed=1)
    check_file(nursery.path)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_minute_of_storm(nursery: Nursery) -> None:
    chaos(nursery, lasts_s=60, seed=2)
    check_file(nursery.path)
