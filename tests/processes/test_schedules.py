"""Workers that are killed again and again while they fire a schedule: each tick has one run, and none is lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from stepflow import Engine, Status
from tests.postgres.conftest import server  # noqa: F401 - a fixture
from tests.processes.flows import Count, single
from tests.processes.harness import Nursery

EVERY = timedelta(milliseconds=200)
ROUNDS, RUNS = 2, 2


@pytest.fixture(params=["sqlite", "postgres"])
def nursery(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Nursery]:
    nursery = Nursery(tmp_path, request.getfixturevalue("server").url() if request.param == "postgres" else "")
    try:
        yield nursery
    finally:
        nursery.close()


def test_each_tick_has_one_run_however_many_workers_are_killed(nursery: Nursery) -> None:
    with Engine(nursery.url) as engine:
        options = {"overlap": "queue", "catch_up": timedelta(hours=1)}  # so that no tick may be left out
        schedule = engine.schedule("often", single, Count(), every=EVERY, **options)  # type: ignore[arg-type]
        children = [nursery.spawn("forever", "single") for _ in range(3)]
        for number in range(ROUNDS):
            nursery.log.wait((number + 1) * RUNS, what="step")
            children.pop(0).kill()
            children.append(nursery.spawn("forever", "single"))
        nursery.log.wait((ROUNDS + 1) * RUNS, what="step")
        schedule.pause()
        for child in children:
            child.kill()
        made = schedule.info().created_at
        engine.register(single)
        engine.run_until_idle()
        runs = list(reversed(schedule.runs(1000)))
        ticks = [(made + EVERY * (n + 1)).replace(tzinfo=None).isoformat() for n in range(len(runs))]
        assert [run.id for run in runs] == [f"often@{tick}Z" for tick in ticks]
        assert {run.status for run in runs} == {Status.COMPLETED}
        assert len(runs) >= (ROUNDS + 1) * RUNS - ROUNDS  # a killed step is done again
