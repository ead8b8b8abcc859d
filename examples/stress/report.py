"""What is found when all runs have ended: lost runs, repeated steps, and how long the runs took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flows import STEPS, Done, Effect, Job

from stepflow import Engine, Workflow

PAGE = 1000


def faults(effects: Iterable[Effect], results: Mapping[str, Done | None], killed: set[str]) -> list[str]:
    """What must not happen. `results` has every run that was started, None for one that did not complete.

    A call may be made again only if the process that made it was killed, and only while no later step of the run was called: then
    its result was durable. The marks in the result are those of the calls that were not made again.
    """
    calls: dict[str, list[Effect]] = defaultdict(list)
    for effect in effects:
        calls[effect.run].append(effect)
    found = [f"{run}: it was never started" for run in calls.keys() - results.keys()]
    for run, done in results.items():
        latest: dict[str, Effect] = {}
        for call in calls[run]:
            before = latest.get(call.step)
            if before is not None and before.process not in killed:
                found.append(f"{run}: {call.process} repeats {call.step} of {before.process}, which was not killed")
            if latest.keys() & set(STEPS[STEPS.index(call.step) + 1 :]):
                found.append(f"{run}: {call.process} repeats {call.step}, whose result was durable")
            latest[call.step] = call
        marks = [latest[step].mark for step in STEPS if step in latest]
        if done is None:
            found.append(f"{run}: it did not complete")
        elif done.marks != marks:
            found.append(f"{run}: its journal has {done.marks}, the steps made {marks}")
    return found


def results(engine: Engine, flow: Workflow[Job, Done], runs: Iterable[str]) -> dict[str, Done | None]:
    """The result of each run."""
    completed = {run.id for run in _pages(engine, flow.name) if run.status == "completed"}
    return {run: engine.get(flow, run).result() if run in completed else None for run in runs}


def times(engine: Engine, flow: str) -> dict[str, float]:
    """Milliseconds from the start to the end of the runs of a flow, by the times in the store."""
    taken = sorted(
        (run.updated_at - run.created_at).total_seconds() * 1000
        for run in _pages(engine, flow)
        if run.status == "completed"
    )
    if not taken:
        return {}
    return {
        "min": taken[0],
        "p50": _percentile(taken, 50),
        "p95": _percentile(taken, 95),
        "p99": _percentile(taken, 99),
        "avg": sum(taken) / len(taken),
        "max": taken[-1],
    }


def table(kinds: Mapping[str, Mapping[str, Any]]) -> str:
    """The result for a reader."""
    columns = ("min", "p50", "p95", "p99", "avg", "max")
    lines = [f"{'kind':4} {'runs':>7} {'completed':>9} {'failed':>7} " + " ".join(f"{c + ' ms':>9}" for c in columns)]
    for kind, row in kinds.items():
        numbers = " ".join(f"{row['ms'][c]:9.1f}" if row["ms"] else f"{'-':>9}" for c in columns)
        lines.append(f"{kind:4} {row['runs']:7} {row['completed']:9} {row['failed']:7} {numbers}")
    return "\n".join(lines)


def _pages(engine: Engine, flow: str) -> Iterable[Any]:
    page = engine.runs(flow=flow, limit=PAGE)
    yield from page
    while page.next:
        page = engine.runs(flow=flow, limit=PAGE, cursor=page.next)
        yield from page


def _percentile(ordered: Sequence[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
