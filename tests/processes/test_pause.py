"""A paused run stays paused over the death of the process that held it, and nothing is lost or done twice."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepflow import Engine, Status
from tests.postgres.conftest import server  # noqa: F401 - a fixture
from tests.processes import flows
from tests.processes.flows import Count
from tests.processes.harness import Nursery, eventually


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


@pytest.mark.parametrize("name", ["paid_beside", "mapped"])
def test_calls_that_a_pause_leaves_running_end_although_their_worker_is_stopped(nursery: Nursery, name: str) -> None:
    flow = getattr(flows, name)
    with Engine(nursery.url) as engine:
        run = engine.start(flow, Count(), id="r")
        child = nursery.spawn("forever", name)
        nursery.log.wait(3, what="begin")
        run.pause()
        nursery.gate.open()
        eventually(lambda: [row.kind.partition("@")[0] for row in run.recording().rows].count("step") == 1)
        assert run.status() is Status.RUNNING
        child.send(signal.SIGTERM)
        nursery.log.wait(what="log", who=child.name)  # it has heard
        nursery.gate.open(2)
        assert child.wait() == 0, child.stderr()
        assert (run.status(), run.info().crashes) == (Status.PAUSED, 0)
        assert len(nursery.log.entries("begin")) == len(nursery.log.entries("end")) == 3
        run.resume()
        nursery.gate.open(2)
        assert nursery.spawn("until_idle", name).wait() == 0
        assert run.result(0) == (3 if name == "paid_beside" else 5)
    begun = Counter(e.step for e in nursery.log.entries("begin"))
    assert set(begun.values()) == {1}
    assert {e.attempt for e in nursery.log.entries("begin")} == {1}
