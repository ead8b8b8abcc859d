"""What lists and counts cost beside runs that are not meant: through the port, by a session that has asked once before."""

from __future__ import annotations

import gc
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from stepflow.drivers.port.queries import RunQuery, TallyQuery
from tests.bench.target import target


def measure(folder: Path, *, store: str, place: str, now: int, nth: int, rounds: int, what: str) -> dict[str, Any]:
    """Milliseconds of one answer: of a tally, the first page of a rare status, or that of a label that no run has."""
    query: Any = {
        "tally": TallyQuery(now),
        "open": RunQuery(now, status="waiting"),
        "label": RunQuery(now, labels={"tenant": "nobody"}),
        "polling": RunQuery(now, status="waiting"),
        "blocked": RunQuery(now, status="blocked"),
        "by_id": RunQuery(now, status="blocked", order="id", ascending=True),
    }[what]
    with target(store, place).session(now) as session:
        found = session.read(query)
        gc.collect()
        spans, same = [], 0
        for _ in range(rounds):
            began = perf_counter()
            answer = session.read(query)
            spans.append(perf_counter() - began)
            same += answer == found
    return {"value": median(spans) * 1000, "steps": same, "expected": rounds}
