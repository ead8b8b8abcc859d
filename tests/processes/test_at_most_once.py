"""A process that is killed in a call that is made at most once: no other process repeats it, the run is blocked until it is resolved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stepflow import Engine
from tests.http.served import Served
from tests.postgres.conftest import server  # noqa: F401 - a fixture
from tests.processes import flows, paying
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


@pytest.mark.parametrize("name", ["paid_once", "apaid_once", "wpaid_once"])
def test_nobody_repeats_a_call_in_which_its_process_was_killed(nursery: Nursery, name: str) -> None:
    flow = getattr(flows, name)
    with Engine(nursery.url) as engine:
        engine.start(flow, Count(), id=name)
    child = nursery.spawn("until_idle", name)
    nursery.log.wait(1, what="begin", who=child.name)
    child.kill()
    nursery.gate.open(2)  # nothing would stop a second call
    nursery.spawn("until_idle", name).wait()
    with Engine(nursery.url) as engine:
        run = engine.get(flow, name)
        blocked = run.info().blocked
        assert blocked is not None
        assert blocked.kind == "unknown_outcome"
        assert "the outcome of step 'pay' is unknown" in run.explain()
        run.resolve("pay", 41 if name == "wpaid_once" else Count(41))
    nursery.spawn("until_idle", name).wait()
    with Engine(nursery.url) as engine:
        result = engine.get(flow, name).result()
        assert (result if name == "wpaid_once" else result.n) == 42
    assert len(nursery.log.entries("begin")) == 1


@pytest.mark.parametrize("name", ["pays_in_step", "apays_in_step", "pays_in_function", "apays_in_function"])
def test_nobody_repeats_a_call_of_a_step_or_function_in_which_its_process_was_killed(
    nursery: Nursery, name: str
) -> None:
    flow, in_step = getattr(paying, name), name.endswith("step")
    with Engine(nursery.url) as engine:
        engine.start(flow, *([Count()] if in_step else []), id=name)
    child = nursery.spawn("until_idle", name)
    nursery.log.wait(1, what="begin", who=child.name)
    child.kill()
    nursery.gate.open(2)  # nothing would stop a second call
    nursery.spawn("until_idle", name).wait()
    with Engine(nursery.url) as engine:
        run = engine.get(name)
        blocked = run.info().blocked
        assert blocked is not None
        assert blocked.kind == "unknown_outcome"
        assert f"the outcome of call 'pay' of '{'s00' if in_step else name}' is unknown" in run.explain()
        run.resolve("pay", 41)
    nursery.spawn("until_idle", name).wait()
    with Engine(nursery.url) as engine:
        if in_step:
            assert engine.get(flow, name).result() == Count(42)
        else:
            assert engine.get_state(name).annotation("sum") == "42"
    assert len(nursery.log.entries("begin")) == 1
