"""What a claim costs when the due runs have limits, and wait for many different keys."""

from __future__ import annotations

import gc
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from stepflow.drivers.port.commit import Commit, Created, Enqueue, Release, Write
from stepflow.model.limits import Limit, dump
from stepflow.model.state import State, Transition
from tests.bench.target import target

FLOW, NOW, MANY, BATCH = "limited", 10**15, 64, 1000
FLOWS = {FLOW: "definition"}


def creation(number: int, keys: int) -> Commit:
    """The start of a run that is due, with one of so many keys."""
    limits = dump([Limit(f"key-{number % keys:06}", concurrency=1)])
    state = State(f"run-{number:06}", 0, Transition(FLOW))
    return Commit(
        writes=(Write(state, "1", Created(FLOW, "", NOW)),),
        queue=(Enqueue(state.id, FLOW, NOW - 1_000_000 + number, limits=limits),),
    )


def measure(folder: Path, *, store: str, place: str, keys: int, claims: int) -> dict[str, Any]:
    """Milliseconds of a claim of 64 runs, the median of some in a row; of each key one run is taken at a time, and another one waits."""
    at, spans, taken = target(store, place), list[float](), 0
    with at.session(NOW) as session:
        for first in range(0, 2 * keys, BATCH):
            session.commit([creation(number, keys) for number in range(first, min(first + BATCH, 2 * keys))], NOW)
        for number in range(claims + 1):
            gc.collect()
            began = perf_counter()
            found = session.claim(FLOWS, NOW, MANY)
            if number:  # connections and statements are there from the second one on
                spans.append(perf_counter() - began)
                taken += len(found)
            session.release([Release(claim.fence, claim.row.due) for claim in found], NOW)
    return {"value": median(spans) * 1000, "steps": taken, "expected": claims * MANY}
