"""A process that is killed while it rewinds a run: either nothing was done, or the children that were started later do not go on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepflow import Engine, Status
from tests.postgres.conftest import server  # noqa: F401 - a fixture
from tests.processes import flows
from tests.processes.flows import Count
from tests.processes.harness import Nursery

LATE = [f"r/late[{n}]" for n in range(3)]


@pytest.fixture(params=["sqlite", "postgres", "rocksdb"])
def nursery(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Nursery]:
    url = {"sqlite": "", "rocksdb": f"rocksdb:///{tmp_path / 'store'}"}.get(request.param)
    nursery = Nursery(tmp_path, request.getfixturevalue("server").url() if url is None else url)
    try:
        yield nursery
    finally:
        nursery.close()


@pytest.mark.parametrize("commits", [0, 1])
def test_the_children_of_a_rewound_run_are_cancelled_although_the_process_died(nursery: Nursery, commits: int) -> None:
    with Engine(nursery.url) as engine:
        engine.register(flows.starting, flows.awaiting)
        run = engine.start(flows.starting, Count(), id="r")
        engine.run_until_idle()
        before = run.info().rev
    died = nursery.spawn("killed_in_a_rewind", commits=commits, run="r", step="mark")
    assert died.wait() == -signal.SIGKILL
    anew = [f"r/~{before}/late[{n}]" for n in range(3)] if commits else []
    with Engine(nursery.url) as engine:
        run = engine.get(flows.starting, "r")
        assert (run.info().rev > before) == (commits == 1)
        assert {engine.get(one).status() for one in LATE} == {Status.WAITING}
        engine.register(flows.starting, flows.awaiting)
        engine.run_until_idle()
        assert {engine.get(one).status() for one in LATE} == {Status.CANCELLED if commits else Status.WAITING}
        assert {one.id for one in engine.runs(parent="r") if one.status is Status.WAITING} == {
            "r/early",
            *(anew or LATE),
        }
        for one in ["r/early", *(anew or LATE)]:
            engine.get(one).publish("go", 1)
        engine.run_until_idle()
        assert run.result() == 4
