"""A process that is killed in the middle of a long step or flow function: the next attempt goes on behind the last finished call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepflow import Engine
from tests.http.served import Served
from tests.postgres.conftest import server  # noqa: F401 - a fixture
from tests.processes import flows
from tests.processes.flows import Count
from tests.processes.harness import Nursery


@pytest.fixture(params=["sqlite", "postgres", "rocksdb", pytest.param("http", marks=pytest.mark.soak)])
def nursery(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Nursery]:
    url, served = "", None
    if request.param == "postgres":
        url = request.getfixturevalue("server").url()
    elif request.param == "rocksdb":
        url = f"rocksdb:///{tmp_path / 'store'}"
    elif request.param == "http":
        served = Served(f"sqlite:///{tmp_path / 'served.db'}")
        url = served.url
    nursery = Nursery(tmp_path, url)
    try:
        yield nursery
    finally:
        nursery.close()
        if served is not None:
            served.close()


def killed_behind_each_call(nursery: Nursery, name: str) -> None:
    """Kill a process behind the first, second and third of the five calls, and let the next one come to the end."""
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


@pytest.mark.parametrize("name", ["long_step", "along_step"])
def test_a_long_step_goes_on_behind_its_last_finished_call(nursery: Nursery, name: str) -> None:
    flow = getattr(flows, name)
    with Engine(nursery.url) as engine:
        engine.start(flow, Count(), id=name)
    killed_behind_each_call(nursery, name)
    with Engine(nursery.url) as engine:
        run = engine.get(flow, name)
        assert run.result().n == 10
        assert run.info().crashes == 0


@pytest.mark.parametrize("name", ["long_function", "along_function"])
def test_a_long_flow_function_goes_on_behind_its_last_finished_call(nursery: Nursery, name: str) -> None:
    with Engine(nursery.url) as engine:
        engine.start(getattr(flows, name), id=name)
    killed_behind_each_call(nursery, name)
    with Engine(nursery.url) as engine:
        assert engine.get_state(name).annotation("sum") == "10"
        assert engine.get(name).info().crashes == 0
