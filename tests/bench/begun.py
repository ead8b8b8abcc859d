"""Runs as the raw limits find them: started and claimed by stepflow, so that tables, indexes and epochs are the real ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from stepflow.drivers.port.store import Store
from stepflow.engine.client.client import planned_start
from tests.bench.ours import flow_of

STEPS = 10
NOW = 1_760_000_000_000_000
TEXTS = [f'{{"annotations":{{"stepflow.state":"[\\"bench/s{n}\\"]"}},"to":"bench"}}' for n in range(STEPS)]
MANY = 1000


class Step(NamedTuple):
    """One step to be written: the run, its epoch, the revision it replaces, the one it makes, its text and its time."""

    id: str
    epoch: int
    prev: int
    rev: int
    text: str
    at: int


def begin(session: Store, runs: int) -> dict[str, tuple[int, int]]:
    """Start and claim so many runs: id -> epoch and revision."""
    flow = flow_of("async")
    for first in range(0, runs, MANY):
        wave = range(first, min(first + MANY, runs))
        session.commit([planned_start(flow, None, f"run-{n:06}", {}, NOW, 0, NOW) for n in wave], NOW)
    claims = session.claim({flow.name: flow.definition}, NOW, runs)
    return {claim.fence.id: (claim.fence.epoch, claim.row.claim_rev) for claim in claims}


def commits(begun: dict[str, tuple[int, int]], batch: int) -> Iterator[list[Step]]:
    """One commit after the other: `batch` runs at a time go through their ten steps side by side."""
    ids = sorted(begun)
    rev = max(last for _epoch, last in begun.values())
    for first in range(0, len(ids), batch):
        wave = ids[first : first + batch]
        last = {run: begun[run][1] for run in wave}
        for text in TEXTS:
            steps = []
            for run in wave:
                rev += 1
                steps.append(Step(run, begun[run][0], last[run], rev, text, NOW + rev))
                last[run] = rev
            yield steps
