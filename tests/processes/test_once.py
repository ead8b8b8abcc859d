"""A process that is killed in the middle of a long step: the next attempt goes on behind the last finished call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepflow import Engine
from tests.postgres.conftest import server  # noqa: F401 - a fixture
from tests.processes import flows
from tests.processes.flows import Count
from tests.processes.harness import Nursery


@pytest.fixture(params=["sqlite", "postgres", "rocksdb"])
def nursery(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Nursery]:
    url = ""
    if request.param == "postgres":
        url = request.getfixturevalue("server").url()
    elif request.param == "rocksdb":
        url = f"rocksdb:///{tmp_path / 'store'}"
    nursery = Nursery(tmp_path, url)
    try:
        yield nursery
    finally:
        nursery.close()


@pytest.mark.parametrize("name", ["long_step", "along_step"])
def test_a_long_step_goes_on_behind_its_last_finished_call(nursery: Nursery, name: str) -> None:
    flow = getattr(flows, name)
    with Engine(nursery.url) as engine:
        engine.start(flow, Count(), id=name)
    for _ in range(3):
        child = nursery.spawn("until_idle", name)
        nursery.log.wait(1, what="begin", who=child.name)
        nursery.gate.open()  # the call that was interrupted before, or the first one, comes to its end
        nursery.log.wait(2, what="begin", who=child.name)
        child.kill()
    child = nursery.spawn("until_idle", name)
    nursery.gate.open(2)
    child.wait()
    assert Counter(e.note for e in nursery.log.entries("end")) == dict.fromkeys(range(5), 1)
    assert Counter(e.note for e in nursery.log.entries("begin")) == {n: 2 if n in (1, 2, 3) else 1 for n in range(5)}
    assert sorted({(e.who, e.attempt) for e in nursery.log.entries("begin")}, key=lambda one: one[1]) == [
        (who, n + 1) for n, who in enumerate(dict.fromkeys(e.who for e in nursery.log.entries("begin")))
    ]
    with Engine(nursery.url) as engine:
        run = engine.get(flow, name)
        assert run.result().n == 10
        assert run.info().crashes == 0
