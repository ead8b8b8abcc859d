"""Flow functions: States that a function moves ten times, one commit each, drained by one engine and counted afterwards."""

from __future__ import annotations

import asyncio
import gc
from inspect import signature
from pathlib import Path
from time import perf_counter
from typing import Any

from stepflow import AsyncEngine, Execute, Noop, StateCtx, commit, flow, park, transit
from tests.bench.ours import start_all
from tests.bench.target import target

COMMITS = 10
# The loop belongs to the probe, as that of the chains does. Earlier code commits on it without being asked.
ON_LOOP: dict[str, Any] = {"commit_on_loop": True} if "commit_on_loop" in signature(AsyncEngine).parameters else {}


def _next(ctx: StateCtx) -> Any:
    """The command of this call: nine moves to the same flow, then a park. A label and an annotation change with each."""
    done = int(ctx.annotations.get("done", "0")) + 1
    ctx.annotations["done"] = str(done)
    ctx.labels["stage"] = "last" if done == COMMITS else "moving"
    return park(ctx) if done == COMMITS else transit(ctx, "bench")


@flow("bench")
async def returning(ctx: StateCtx) -> Any:
    """Returns its commit, and the engine goes on with the State that it moved."""
    return commit(_next(ctx))


@flow("bench")
def returning_sync(ctx: StateCtx) -> Any:
    """The same as a plain function."""
    return commit(_next(ctx))


@flow("bench")
async def doing(ctx: StateCtx, engine: AsyncEngine) -> Any:
    """Awaits its commit, and then says whether to go on."""
    await engine.do(commit(_next(ctx)))
    return Noop() if ctx.labels["stage"] == "last" else Execute(ctx)


STYLES: dict[str, Any] = {"async": returning, "sync": returning_sync, "do": doing}


def drain(folder: Path, *, store: str, place: str, runs: int, width: int, style: str) -> dict[str, Any]:
    """Commits per second of draining `runs` started runs of ten commits, `width` at a time."""
    at, function = target(store, place), STYLES[style]

    async def work() -> float:
        async with AsyncEngine(at.driver, concurrency=width, **ON_LOOP) as engine:
            engine.register(function)
            await start_all(engine, function, (f"run-{n:06}" for n in range(runs)))
            gc.collect()
            began = perf_counter()
            await engine.run_until_idle()
            return perf_counter() - began

    spent = asyncio.run(work())
    found = at.revisions() - runs
    return {"value": found / spent, "steps": found, "expected": runs * COMMITS}
