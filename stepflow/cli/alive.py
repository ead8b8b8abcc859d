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

    renewal = _Renewal(path, engine)
    try:
        yield
    finally:
        renewal.stop()
        _forget(path)


class _Renewal:
    """Renews the file every RENEW_S. A timer and no task: steps may cancel all tasks of the loop."""

    def __init__(self, path: Path, engine: AsyncEngine) -> None:
        self._path, self._engine, self._guard = path, engine, Guard("alive file")
        self._set_timer(RENEW_S)

    def _set_timer(self, pause_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._turn)

    def _turn(self) -> None:
        try:
            _renew(self._path, self._engine)
        except Exception as error:  # noqa: BLE001 - logged
            self._set_timer(self._guard.failed(error))
        else:
            self._guard.succeeded()
            self._set_timer(RENEW_S)

    def stop(self) -> None:
        """Renew it no more."""
        self._timer.cancel()


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
