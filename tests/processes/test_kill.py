"""A process that is killed repeatedly: no finished step is repeated, nothing is lost, it resumes at once."""

from __future__ import annotations

import random
import select
import signal
from statistics import median

import pytest

from tests.processes import flows
from tests.processes.checks import check_chain, check_effects, check_file, committed, histories, start_many
from tests.processes.harness import NEVER_S, Child, Log, Nursery, seconds

IN_FLIGHT = 64


def work_until_killed(nursery: Nursery, child: Child, chance: random.Random, steps: int) -> bool:
    """Let the process do about so many steps, then kill it anywhere; False if it came to the end before."""
    goal = len(nursery.log.entries("step")) + steps

    def enough(log: Log) -> bool:
        return len(log.entries("step")) >= goal or bool(log.entries("idle")) or child.ended()

    while not nursery.log.until(enough, 1.0):
        pass
    if nursery.log.entries("idle"):
        return False
    select.select([], [], [], chance.random() * 0.01)  # anywhere in a step, a commit or a claim
    child.kill()
    return not nursery.log.entries("idle")


def storm(nursery: Nursery, name: str, runs: int, steps: tuple[int, int], seed: int) -> None:
    chance = random.Random(seed)
    ids = start_many(nursery.url, getattr(flows, name), runs)
    killed: list[str] = []
    begun: list[tuple[float, float]] = []  # since the start of the process, since Python and its imports were ready
    while True:
        done = committed(nursery.copy(), ids)
        before = len(nursery.log.entries("step"))
        child = nursery.spawn("until_idle", name, SILENCE_S=NEVER_S)  # free locks prove deaths
        alive = work_until_killed(nursery, child, chance, chance.randint(*steps))
        effects = nursery.log.entries("step")[before:]
        repeated = done.intersection((e.run, e.step) for e in effects)
        assert not repeated, f"seed {seed}: committed before {child.name} was born, and done again: {repeated}"
        if effects:
            (ready,) = nursery.log.entries("born", child.name)
            begun.append((seconds(child.created, effects[0].at), seconds(ready.at, effects[0].at)))
        if not alive:
            break
        killed.append(child.name)
    assert child.wait() in (0, -signal.SIGKILL)  # it may be killed between its last word and its end
    again = check_effects(nursery.log.entries("step"), ids, killed, IN_FLIGHT)
    for entries in histories(nursery.url, ids).values():
        check_chain(name, entries)
    check_file(nursery.path)
    whole, ours = ([times[i] for times in begun] for i in (0, 1))
    print(
        f"{len(killed)} kills, {again} steps repeated; first step after {median(whole):.2f} s, at most {max(whole):.2f} s,"
        f" of which without start and imports {median(ours):.2f} s, at most {max(ours):.2f} s"
    )
    assert len(killed) >= 3


# Steps are over in microseconds: there must be so many that the process is not through before it is seen that its end is due.
@pytest.mark.parametrize(("name", "runs", "most"), [("sync_chain", 200, 300), ("async_chain", 400, 800)])
def test_a_process_that_is_killed_again_and_again_repeats_only_what_was_interrupted(
    nursery: Nursery, name: str, runs: int, most: int
) -> None:
    storm(nursery, name, runs, (1, most), seed=20260101)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", ["sync_chain", "async_chain"])
def test_kill_storm(nursery: Nursery, name: str, seed: int) -> None:
    storm(nursery, name, 1000, (1, 400), seed)
