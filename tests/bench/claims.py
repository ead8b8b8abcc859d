"""What a claim costs beside many other rows: 64 due runs at a time taken through the port, and given back at the end."""

from __future__ import annotations

import gc
from pathlib import Path
from statistics import mean, median
from time import perf_counter
from typing import Any

from stepflow.drivers.port.commit import Claim, Release
from tests.bench.ours import flow_of
from tests.bench.part import STEP
from tests.bench.target import target

MANY = 64
STEP_US = round(STEP.total_seconds() * 1_000_000)


def measure(
    folder: Path, *, store: str, place: str, now: int, nth: int, rounds: int, moving: bool = False
) -> dict[str, Any]:
    """Milliseconds per claim of 64 runs. With `moving` as many sleeping rows become due between two claims.

    The sample is the `nth` on this store: it goes on where time stood at the end of the one before.
    """
    flow = flow_of("async")
    flows = {flow.name: flow.definition}
    spans, horizons, held = [], [], list[Claim]()
    with target(store, place).session(now) as session:

        def back(claims: list[Claim]) -> int:
            releases = [Release(claim.fence, claim.row.due) for claim in claims]
            return sum(session.release(releases, now))

        if moving:
            now += nth * (rounds + 1) * MANY * STEP_US
        back(session.claim(flows, now, MANY))  # connections and statements are there from now on
        gc.collect()
        for _ in range(rounds):
            if moving:
                now += MANY * STEP_US
            began = perf_counter()
            found = session.claim(flows, now, MANY)
            spans.append(perf_counter() - began)
            held += found
            began = perf_counter()
            session.next_due(flows, now)
            horizons.append(perf_counter() - began)
        given = back(held)
    distinct = len({claim.fence.id for claim in held})
    return {
        "value": mean(spans) * 1000,
        "p50_ms": median(spans) * 1000,
        "horizon_ms": mean(horizons) * 1000,
        "steps": min(given, distinct),
        "expected": rounds * MANY,
    }
