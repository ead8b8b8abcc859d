"""Several workers on one file: they share the runs, and killing any of them loses and repeats nothing else."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.processes import flows
from tests.processes.checks import check_chain, check_effects, check_file, histories, start_many
from tests.processes.harness import Child, Nursery

IN_FLIGHT = 16


def share(nursery: Nursery, name: str, *, runs: int, workers: int, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    ids = start_many(nursery.url, getattr(flows, name), runs)

    def hire() -> Child:
        return nursery.spawn("until_idle", name, concurrency=IN_FLIGHT)

    staff = [hire() for _ in range(workers)]
    killed: list[str] = []
    gap = runs * flows.CHAIN // (kills + 2)
    for number in range(kills):
        nursery.log.wait(chance.randint(number * gap + 1, (number + 1) * gap), what="step")
        victim = staff.pop(chance.randrange(workers))
        victim.kill()
        killed.append(victim.name)
        staff.append(hire())
    for child in staff:
        assert child.wait() == 0, child.stderr()
    effects = nursery.log.entries("step")
    again = check_effects(effects, ids, killed, IN_FLIGHT)
    for entries in histories(nursery.url, ids).values():
        check_chain(name, entries)
    check_file(nursery.path)
    print(f"{len(killed)} kills, {again} repeated; steps by worker: {dict(Counter(e.who for e in effects))}")
    assert len({e.who for e in effects}) >= workers


@pytest.mark.parametrize("name", ["sync_chain", "async_chain"])
def test_four_workers_share_the_runs_and_any_may_be_killed(nursery: Nursery, name: str) -> None:
    share(nursery, name, runs=500, workers=4, kills=4, seed=7)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", ["sync_chain", "async_chain"])
def test_workers_storm(nursery: Nursery, name: str, seed: int) -> None:
    share(nursery, name, runs=3000, workers=6, kills=40, seed=seed)
