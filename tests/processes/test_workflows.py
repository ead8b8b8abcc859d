"""Processes that advance workflows are killed: no finished step is repeated, nothing is lost, each child is started once."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from stepflow import Engine
from tests.processes import flows
from tests.processes.checks import check_effects, check_file, start_many
from tests.processes.harness import Nursery
from tests.processes.test_kill import IN_FLIGHT, work_until_killed


@pytest.mark.parametrize("name", ["five", "afive"])
def test_a_process_that_is_killed_in_each_step_repeats_that_step_alone(nursery: Nursery, name: str) -> None:
    flow: Any = getattr(flows, name)
    start_many(nursery.url, flow, 1)
    for n in range(1, 4):
        child = nursery.spawn("until_idle", name)
        nursery.log.wait(1, what="begin", who=child.name)
        nursery.gate.open()  # the step that was interrupted before, or the first one, comes to its end
        nursery.log.wait(2, what="begin", who=child.name)
        assert [e.step for e in nursery.log.entries("begin", child.name)] == [f"s{n - 1}", f"s{n}"]
        child.kill()
    child = nursery.spawn("until_idle", name)
    nursery.gate.open(2)
    child.wait()
    assert Counter(e.step for e in nursery.log.entries("end")) == {f"s{n}": 1 for n in range(5)}
    assert Counter(e.step for e in nursery.log.entries("begin")) == {
        f"s{n}": 2 if n in (1, 2, 3) else 1 for n in range(5)
    }
    with Engine(nursery.url) as engine:
        assert engine.get(flow, f"{name}-000").result() == 5


def _is_open(nursery: Nursery) -> bool:
    """Whether a run has not ended yet."""
    with Engine(nursery.url) as engine:
        return engine.runs(open=True, limit=1) != []


@pytest.mark.parametrize("name", ["sync_workflow", "async_workflow", "gathering"])
def test_a_storm_of_kills(nursery: Nursery, name: str) -> None:
    flow: Any = getattr(flows, name)
    chance, killed = random.Random(20260101), list[str]()
    ids = start_many(nursery.url, flow, 80)
    while True:
        child = nursery.spawn("until_idle", name, SILENCE_S=3600.0)
        if not work_until_killed(nursery, child, chance, chance.randint(1, 150)):
            break
        killed.append(child.name)
    child.wait()
    while _is_open(nursery):  # the last runs slept while nothing else was due
        nursery.spawn("until_idle", name).wait()
    branches = 3 if name == "gathering" else 1
    check_effects(nursery.log.entries("step"), ids, killed, IN_FLIGHT * branches)
    assert len(killed) >= 2
    with Engine(nursery.url) as engine:
        assert {engine.get(flow, run_id).result() for run_id in ids} == {flows.CHAIN}
    check_file(nursery.path)


@pytest.mark.parametrize("name", ["family", "afamily"])
def test_parents_and_children_under_kills_run_each_child_once(nursery: Nursery, name: str) -> None:
    flow: Any = getattr(flows, name)
    others = ["sync_workflow", "sync_chain"] if name == "family" else ["async_workflow", "async_chain"]
    chance, killed = random.Random(20260102), list[str]()
    parents = start_many(nursery.url, flow, 8)
    while True:
        child = nursery.spawn("until_idle", name, *others, SILENCE_S=3600.0)
        if not work_until_killed(nursery, child, chance, chance.randint(1, 80)):
            break
        killed.append(child.name)
    child.wait()
    keys = [f"kid[{n}]" for n in range(4)] + [f"chain/{n}" for n in range(2)]
    check_effects(nursery.log.entries("step"), [f"{one}/{key}" for one in parents for key in keys], killed, IN_FLIGHT)
    assert len(killed) >= 2
    with Engine(nursery.url) as engine:
        assert {engine.get(flow, parent).result() for parent in parents} == {6 * flows.CHAIN}
        for parent in parents:
            assert sorted(run.id for run in engine.runs(parent=parent)) == sorted(f"{parent}/{key}" for key in keys)
    check_file(nursery.path)
