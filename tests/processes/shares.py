"""Several workers on one store, for any store: they share runs, die, and replace each other."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Iterable
from statistics import median
from typing import Any

from stepflow import AsyncEngine, Engine
from stepflow.drivers.registry import driver_for
from tests.processes import flows
from tests.processes.checks import check_chain, check_effects, histories, start_many
from tests.processes.flows import Count
from tests.processes.harness import Child, Log, Nursery, seconds

IN_FLIGHT = 16


def check_store(url: str) -> None:
    """The store's own check finds no problem."""
    assert driver_for(url).maintenance("").check() == []


def share(nursery: Nursery, name: str, *, runs: int, workers: int, kills: int, seed: int) -> None:
    """Workers share runs while any of them is killed at random: no finished step is repeated, no run is lost."""
    chance = random.Random(seed)

    def hire() -> Child:
        return nursery.spawn("forever", name, concurrency=IN_FLIGHT)

    staff = [hire() for _ in range(workers)]
    for child in staff:
        nursery.log.wait(what="ready", who=child.name)
    ids = start_many(nursery.url, getattr(flows, name), runs)
    killed: list[str] = []
    gap = runs * flows.CHAIN // (kills + 2)
    for number in range(kills):
        nursery.log.wait(chance.randint(number * gap + 1, (number + 1) * gap), what="step", timeout=120)
        victim = staff.pop(chance.randrange(workers))
        victim.kill()
        killed.append(victim.name)
        staff.append(hire())
    wait_for_all(nursery.url, ids)
    for child in staff:
        nursery.log.wait(what="ready", who=child.name)  # the last ones were hardly born
        child.send(signal.SIGTERM)
        assert child.wait(120) == 0, child.stderr()
    effects = nursery.log.entries("step")
    again = check_effects(effects, ids, killed, IN_FLIGHT)
    for entries in histories(nursery.url, ids).values():
        check_chain(name, entries)
    check_store(nursery.url)
    print(f"{len(killed)} kills, {again} repeated; steps by worker: {dict(Counter(e.who for e in effects))}")
    assert len({e.who for e in effects}) > 1  # a quick one may have done most of it


def wait_for_all(url: str, ids: Iterable[str], timeout: float = 240) -> None:
    """Every run completes."""

    async def work() -> None:
        async with AsyncEngine(url) as engine:
            await asyncio.gather(*(engine.get(run_id).result(timeout) for run_id in ids))

    asyncio.run(work())


def holders(nursery: Nursery, name: str, staff: int, each: int, **options: Any) -> list[Child]:
    """Workers of which the first two hold `each` runs, within their first step, and the others wait for work."""
    children = []
    for number in range(staff):
        child = nursery.spawn("forever", name, concurrency=each, **options)
        if number < 2:
            nursery.log.wait(each, what="begin", who=child.name)
        else:
            nursery.log.wait(what="ready", who=child.name)
        children.append(child)
    return children


def succession(nursery: Nursery, *, rounds: int = 1, **options: Any) -> list[float]:
    """Kill one of two workers that hold runs, beside two idle ones: seconds until the last of its runs continues."""
    taken: list[float] = []
    with Engine(nursery.url) as engine:
        for turn in range(rounds):
            runs = [engine.start(flows.gated, Count(), id=f"run-{turn}-{i}") for i in range(4)]
            staff = holders(nursery, "gated", 4, 2, **options)
            victim, other = staff[turn % 2], staff[1 - turn % 2]
            held = {e.run for e in nursery.log.entries("begin", victim.name)}
            nursery.log.pause(random.Random(turn).random() + 0.5)  # so that it has beaten for a while
            victim.kill()
            killed = time.monotonic_ns()
            again = nursery.log.until(lambda log: set(_begun(log, staff[2:])) >= held, 40)  # noqa: B023
            assert again, f"{held} were not taken over: {nursery.log.entries('log')}"
            taken.append(seconds(killed, max(_begun(nursery.log, staff[2:]).values())))
            nursery.gate.open(3 * 4)
            assert [run.result(60) for run in runs] == [Count(3)] * 4
            assert len(nursery.log.entries("begin", other.name)) == 2 * 3  # it went on with its own
            for child in staff:
                if child is not victim:
                    child.send(signal.SIGTERM)
                    assert child.wait() == 0, child.stderr()
            assert {run.info().crashes for run in runs} == {0}
    print(f"{len(taken)} takeovers: {median(taken):.2f} s, at most {max(taken):.2f} s")
    check_store(nursery.url)
    return taken


def _begun(log: Log, staff: list[Child]) -> dict[str, int]:
    """When these workers first began a step of each run."""
    names = {child.name for child in staff}
    found: dict[str, int] = {}
    for entry in log.entries("begin"):
        if entry.who in names:
            found.setdefault(entry.run, entry.at)
    return found
