"""What stepflow weighs: memory and disk per waiting run, and the time that `import stepflow` takes."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from stepflow import AsyncEngine, named
from tests.bench.ours import start_all
from tests.bench.target import target


def _resident_mb() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def waiting(folder: Path, *, store: str, place: str, runs: int, warm: int = 1000) -> dict[str, Any]:
    """Megabytes that the process grows while `runs` runs are started and come to wait for an event."""
    at = target(store, place)

    async def work() -> tuple[float, int]:
        flow = named("bench").wait_event("go", "go", int, lambda payload: None).compile()
        async with AsyncEngine(at.driver, commit_on_loop=True) as engine:
            engine.register(flow)
            await start_all(engine, flow, (f"warm-{n}" for n in range(warm)))
            await engine.run_until_idle()
            before = _resident_mb()
            await start_all(engine, flow, (f"run-{n:06}" for n in range(runs)))
            idle = await engine.run_until_idle()
            return _resident_mb() - before, idle.waiting - warm

    grown, found = asyncio.run(work())
    return {
        "value": grown,
        "file_mb": Path(place).stat().st_size / 1e6 * runs / (runs + warm),
        "steps": found,
        "expected": runs,
    }


def _once(code: str, environment: Mapping[str, str]) -> float:
    began = perf_counter()
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    return (perf_counter() - began) * 1000


IMPORTS = ("pass", "import stepflow", "from stepflow import AsyncEngine, Steps, named")


def keeping_compiled(folder: Path) -> dict[str, str]:
    """The environment of processes that keep what they compile, as that of an installed package is kept."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}


def importing(folder: Path, *, tries: int) -> dict[str, Any]:
    """Milliseconds of `import stepflow`: best of `tries` interpreters, minus the best of as many bare ones.

    The names of the door are loaded when they are used, so the same is measured for a program that uses the engine. The
    first imports, which may have to compile, are not counted: an installed package is compiled already.
    """
    environment = keeping_compiled(folder)
    _once(IMPORTS[-1], environment)
    rounds = [[_once(code, environment) for code in IMPORTS] for _ in range(tries)]
    bare, door, engine = map(min, zip(*rounds, strict=True))
    figures = {"bare_ms": bare, "with_import_ms": door, "engine_ms": engine - bare}
    return {"value": door - bare, **figures, "steps": len(rounds), "expected": tries}
