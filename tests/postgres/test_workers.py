"""Workers on real servers: any of them may be killed or stopped, and the others go on in its place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from tests.postgres.server import Server
from tests.processes.chaos import chaos
from tests.processes.crowds import crowd
from tests.processes.harness import NEVER_S, Nursery
from tests.processes.shares import share, succession
from tests.processes.stops import take_over
from tests.processes.timers import fire

READING_S = 0.1  # half of the time that a reading of the server's clock may take on a busy machine: so wrong an engine's clock may be


@pytest.fixture(params=["server", "older_server"])
def nursery(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Nursery]:
    """Processes on a server of each version."""
    server: Server = request.getfixturevalue(request.param)
    nursery = Nursery(tmp_path, server.url())
    yield nursery
    nursery.close()


@pytest.fixture
def pooled(server: Server, tmp_path: Path) -> Iterator[Nursery]:
    """Processes that talk to the server as through a pooler of transactions."""
    nursery = Nursery(tmp_path, server.url(pooler="transaction"))
    yield nursery
    nursery.close()


@pytest.mark.parametrize(
    ("nursery", "name"), [("server", "sync_chain"), ("older_server", "async_chain")], indirect=["nursery"]
)
def test_four_workers_share_the_runs_and_any_may_be_killed(nursery: Nursery, name: str) -> None:
    share(nursery, name, runs=60, workers=4, kills=2, seed=11)


@pytest.mark.parametrize("nursery", ["server"], indirect=True)
def test_the_free_lock_of_a_killed_worker_lets_its_runs_go_on(nursery: Nursery) -> None:
    succession(nursery, SILENCE_S=NEVER_S)  # its free lock proves the death, not its silence


@pytest.mark.parametrize("nursery", ["server"], indirect=True)
def test_a_stopped_worker_is_taken_over_and_its_late_write_is_refused(nursery: Nursery) -> None:
    take_over(nursery, "gated", silence=2.0)


def test_through_a_pooler_the_end_of_its_process_tells_that_a_worker_of_this_machine_is_dead(pooled: Nursery) -> None:
    succession(pooled, SILENCE_S=NEVER_S)


@pytest.mark.parametrize("nursery", ["server"], indirect=True)
def test_delays_fire_once_and_in_time_with_four_workers(nursery: Nursery) -> None:
    nothing_else = {"MAX_SLEEP_S": NEVER_S}  # but the due time wakes a worker
    fire(nursery, delays=40, workers=4, apart_s=0.05, early_s=READING_S, **nothing_else)


@pytest.mark.soak
def test_many_delays(nursery: Nursery) -> None:
    assert median(fire(nursery, delays=600, workers=4, apart_s=0.1, early_s=READING_S)) < 0.05


@pytest.mark.soak
def test_through_a_pooler_the_heartbeat_limit_holds(pooled: Nursery) -> None:
    assert max(succession(pooled, rounds=3)) < 12


@pytest.mark.soak
@pytest.mark.parametrize("name", ["sync_chain", "async_chain"])
def test_workers_storm(nursery: Nursery, name: str) -> None:
    share(nursery, name, runs=1500, workers=5, kills=25, seed=3)


@pytest.mark.soak
def test_takeovers(nursery: Nursery) -> None:
    assert max(succession(nursery, rounds=8)) < 3


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("nursery", ["server"], indirect=True)
def test_urgent_runs_are_done_at_once_beside_a_million_others(nursery: Nursery) -> None:
    assert median(crowd(nursery, rows=1_000_000, workers=2)) < 1


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_minute_of_storm(nursery: Nursery) -> None:
    chaos(nursery, lasts_s=60, seed=3)
