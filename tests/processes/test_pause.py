"""A paused run stays paused over the death of the process that held it, and nothing is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepflow import Engine, Status
from tests.postgres.conftest import server  # noqa: F401 - a fixture
from tests.processes import flows
from tests.processes.flows import Count
from tests.processes.harness import Nursery


@pytest.fixture(params=["sqlite", "postgres"])
def nursery(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Nursery]:
    nursery = Nursery(tmp_path, request.getfixturevalue("server").url() if request.param == "postgres" else "")
    try:
        yield nursery
    finally:
        nursery.close()


@pytest.mark.parametrize("killed", [True, False])
def test_a_paused_run_stays_paused_over_a_killed_worker(nursery: Nursery, killed: bool) -> None:
    flow = flows.long_step
    with Engine(nursery.url) as engine:
        run = engine.start(flow, Count(), id="r")
        child = nursery.spawn("until_idle", "long_step")
        nursery.log.wait(1, what="begin", who=child.name)
        run.pause()
        assert (run.status(), run.info().paused) == (Status.RUNNING, True)
        if killed:
            child.kill()
        else:
            nursery.gate.open()
            child.wait()
        nursery.spawn("until_idle", "long_step").wait()
        assert run.status() is Status.PAUSED
        assert len(nursery.log.entries("begin")) == 1
        run.resume()
        last = nursery.spawn("until_idle", "long_step")
        nursery.gate.open(5)
        last.wait()
        assert run.result().n == 10
    begun = Counter(e.note for e in nursery.log.entries("begin"))
    assert begun == {n: 2 if n == 0 and killed else 1 for n in range(5)}
