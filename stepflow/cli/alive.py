"""alive: the file that a worker renews while its event loop turns, and what a supervisor finds out from it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from stepflow.drivers.port.background import Guard
from stepflow.drivers.port.queries import Condition
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.clock import SystemClock
from stepflow.errors import StepflowError

RENEW_S = 5.0
WITHIN = timedelta(seconds=30)  # of six renewals one has to come


@asynccontextmanager
async def alive_file(path: Path | None, engine: AsyncEngine) -> AsyncIterator[None]:
    """Renew the file meanwhile; None: there is none. Raises StepflowError if it cannot be written."""
    if path is None:
        yield
        return
    try:
        _renew(path, engine)
    except OSError as error:
        raise StepflowError(f"--alive-file {path}: {error.strerror}: name a file that this user may write") from error

    async def turn() -> bool:
        await asyncio.sleep(RENEW_S)
        _renew(path, engine)
        return True

    renewing = asyncio.create_task(Guard("alive file").run_task(turn, asyncio.sleep))
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.wait([renewing])
        _forget(path)


def _renew(path: Path, engine: AsyncEngine) -> None:
    failing = [f"{task.name}: {task.last_error}" for task in engine.health().tasks if task.failing]
    text = json.dumps({"pid": os.getpid(), "at": SystemClock().now(), "failing": failing})
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_text(text)
    part.replace(path)  # a reader finds the one or the other, never a part


def _forget(path: Path) -> None:
    with suppress(OSError):  # the folder may be gone
        path.unlink(missing_ok=True)


def worker_alive(path: Path, within: timedelta) -> Condition:
    """Whether the worker that renews the file has done so within that time. What fails in it is told, and does not make it dead."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        pid, age_s, failing = found["pid"], (SystemClock().now() - found["at"]) / 1e6, found["failing"]
    except FileNotFoundError:
        return Condition("worker", False, f"there is no {path}: no worker with this --alive-file runs, or it has ended")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Condition("worker", False, f"{path} is no file of a worker: {error}")
    ok = age_s <= within.total_seconds()
    told = f"process {pid} renewed {path} {max(age_s, 0):.0f} s ago"
    if not ok:
        told += f", longer than {within.total_seconds():g} s: it was killed, or a step keeps its event loop"
    return Condition("worker", ok, "; ".join([told, *failing]))
