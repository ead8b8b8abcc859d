"""A worker is killed in the middle of a step, and the time limit of the run passes: the next worker ends the run, and makes no step."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stepflow import Engine, Status
from stepflow.testing import VirtualClock
from tests.postgres.conftest import server  # noqa: F401 - a fixture
from tests.processes import flows
from tests.processes.flows import Count
from tests.processes.harness import Nursery

HOUR = timedelta(hours=1)


@pytest.fixture(params=["sqlite", "postgres", "rocksdb"])
def nursery(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Nursery]:
    url = ""
    if request.param == "postgres":
        url = request.getfixturevalue("server").url()
    elif request.param == "rocksdb":
        url = f"rocksdb:///{tmp_path / 'store'}"
    nursery = Nursery(tmp_path, url)
    yield nursery
    nursery.close()


@pytest.mark.parametrize("name", ["long_step", "along_step"])
def test_the_run_of_a_killed_worker_fails_at_its_end(nursery: Nursery, name: str) -> None:
    flow = getattr(flows, name)
    with Engine(nursery.url) as engine:
        engine.start(flow, Count(), id=name, run_timeout=HOUR)
    child = nursery.spawn("until_idle", name)
    nursery.log.wait(1, what="begin", who=child.name)
    child.kill()
    with Engine(nursery.url, clock=VirtualClock(datetime.now(UTC) + 2 * HOUR)) as engine:
        engine.register(flow)
        run = engine.get(name)
        assert (run.status(), run.info().owner_died) in ((Status.RUNNING, True), (Status.RUNNING, False))
        engine.run_until_idle(advance=True)
        info = run.info()
        assert info.error is not None
        assert (info.status, info.error.type) == (Status.FAILED, "TimedOut")
        assert engine.schedules() == []
    assert len(nursery.log.entries("begin")) == 1
