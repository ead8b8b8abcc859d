"""I18-I22: several engines on one store do each run, and each of its steps, once."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from stepflow import Engine
from stepflow.testing import VirtualClock
from tests.acceptance.conftest import Engines
from tests.acceptance.flows import CALLS, count, multi_step, simple, sleeps


def advance_all(engines: list[Engine]) -> int:
    """All at once, until nothing is due; how many runs they ended."""
    with ThreadPoolExecutor(len(engines)) as pool:
        return sum(idle.completed for idle in pool.map(lambda engine: engine.run_until_idle(), engines))


@pytest.mark.parametrize(("runs", "workers"), [(10, 3), (50, 10), (5, 20), (30, 8)], ids=["I18", "I19", "I20", "I21"])
def test_i18_i19_i20_i21_every_run_is_done_once(engines: Engines, runs: int, workers: int) -> None:
    some = engines(workers)
    flow = multi_step if runs == 50 else simple
    found = some[0].start_many(flow, [(f"run-{n}", n if runs == 50 else "x") for n in range(runs)])  # type: ignore[list-item]
    assert advance_all(some) == runs
    assert some[0].tally() == {flow.name: {"completed": runs}}
    assert set(Counter(CALLS).values()) == {1}
    assert len(CALLS) == runs * (3 if runs == 50 else 1)
    assert {run for _step, run in CALLS} == {run.id for run in found}


def test_i22_sleeping_runs_go_on_once_each_wherever(engines: Engines, clock: VirtualClock) -> None:
    some = engines(5)
    some[0].start_many(sleeps, [(None, [0.05])] * 10)
    assert advance_all(some) == 0
    assert some[0].tally() == {"sleeps": {"sleeping": 10}}
    clock.advance(0.05)
    assert advance_all(some) == 10
    assert (count("before_sleep"), count("after_sleep")) == (10, 10)
