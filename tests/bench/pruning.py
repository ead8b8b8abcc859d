"""What others feel of a pruning: how long a start takes while another process deletes runs with long histories, or none."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from stepflow import Engine
from stepflow.drivers.port.commit import Claim, Commit, Created, Dequeue, Enqueue, Write
from stepflow.drivers.port.step import Step
from stepflow.drivers.port.store import Store
from stepflow.model.state import STATUS, State, Transition
from tests.bench.ours import flow_of
from tests.bench.short import quantiles_ms
from tests.bench.target import target

OLD, EXCHANGE, FLOW = 6, '"' + "x" * 1000 + '"', "old"
EVERY_S = 0.005


def _fill(session: Store, revisions: int) -> None:
    """Ended runs with so many revisions each."""
    goes, end = Transition(FLOW, {"n": "1"}), Transition("", {STATUS: "completed"})
    made = [
        Commit(
            writes=(Write(State(f"old-{n}", 0, goes), EXCHANGE, Created(FLOW, "", 1)),),
            queue=(Enqueue(f"old-{n}", FLOW, 1),),
        )
        for n in range(OLD)
    ]
    session.commit(made, 1)
    claims: list[Claim] = session.claim({FLOW: ""}, 1, OLD)
    revs = {record.state.id: record.state.rev for record in session.load([c.fence.id for c in claims]) if record}
    for number in range(revisions):
        last = number == revisions - 1
        steps = [
            Step(c.fence.id, c.fence.epoch, revs[c.fence.id], end if last else goes, {}, {}, EXCHANGE,
                 Dequeue(c.fence.id) if last else None)
            for c in claims
        ]  # fmt: skip
        for step, result in zip(steps, session.commit(steps, 1), strict=True):
            if not isinstance(result, tuple) or not isinstance(result[0], int):
                raise RuntimeError(f"{step.id}: {result}")
            revs[step.id] = result[0]


def measure(folder: Path, *, store: str, place: str, runs: int, revisions: int, prunes: bool) -> dict[str, Any]:
    """Milliseconds of a start, one every few milliseconds: p99, at least `runs` of them and until the pruning has ended."""
    at, spans = target(store, place), list[float]()
    with at.session() as session:
        _fill(session, revisions)
    url = place if store == "postgres" else f"{store}:///{place}"
    command = [sys.executable, "-m", "stepflow", "prune", "--older-than", "0s", "--store", url]
    with Engine(at.driver, keep=None) as engine:
        flow = flow_of("sync")
        gc.collect()
        other = subprocess.Popen(command, stdout=subprocess.DEVNULL) if prunes else None
        while len(spans) < runs or (other is not None and other.poll() is None):
            began = time.perf_counter()
            engine.start(flow, id=f"run-{len(spans)}")
            spans.append(time.perf_counter() - began)
            time.sleep(EVERY_S)
    if other is not None and (other.wait() or at.runs("old-")):
        raise RuntimeError(f"the pruning ended with {other.returncode} and left runs")
    found = quantiles_ms(spans)
    return {"value": found["p99_ms"], **found, "max_ms": max(spans) * 1000, "steps": at.runs(), "expected": len(spans)}
