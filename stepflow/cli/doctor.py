"""The verb `doctor`: checks this environment and the store."""

from __future__ import annotations

import platform
import sqlite3
import sys
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import click

from stepflow.cli.alive import worker_alive
from stepflow.cli.exit_codes import ATTENTION
from stepflow.cli.target import StoreTarget, with_store
from stepflow.cli.values import duration
from stepflow.drivers.port.queries import Condition
from stepflow.drivers.registry import driver_for
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.client.diagnosis import MOST_CONFLICTS, conditions_of
from stepflow.engine.client.pauses import PausedFlow
from stepflow.engine.clock import SystemClock
from stepflow.errors import StepflowError


@click.command("doctor")
@click.option(
    "--alive-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Check nothing but this: whether the worker with the same option is alive. The store is not opened.",
)
@click.option(
    "--within",
    type=duration,
    metavar="DURATION",
    default="30s",
    show_default=True,
    help="The worker has renewed its file in this time.",
)
@with_store(needed=False)
def command(target: StoreTarget, alive_file: Path | None, within: timedelta) -> int:
    """Check versions and, with a store, its health, or whether a worker is alive."""
    if alive_file is not None:
        findings = [worker_alive(alive_file, within)]
    else:
        findings = _environment() + (_store(target) if target.store else [])
    if target.out.json:
        target.out.value(findings)
    else:
        target.out.table(
            ("what", "state", "found"), ((f.what, "ok" if f.ok else "attention", f.found) for f in findings)
        )
    return 0 if all(f.ok for f in findings) else ATTENTION


async def _looked(engine: AsyncEngine) -> tuple[dict[str, dict[str, int]], list[PausedFlow]]:
    return await engine.tally(), await engine.paused_flows()


def _environment() -> list[Condition]:
    packages = ", ".join(f"{name} {version(name)}" for name in ("attrs", "cattrs", "click", "rich"))
    return [
        Condition("python", sys.version_info >= (3, 11), f"{platform.python_version()} on {platform.platform()}"),
        Condition("packages", True, packages),
        Condition("sqlite", sqlite3.sqlite_version_info >= (3, 38), sqlite3.sqlite_version),
    ]


def _store(target: StoreTarget) -> list[Condition]:
    try:
        numbers, paused = target.run(_looked)
        upkeep = driver_for(target.store).maintenance(target.namespace)
        conditions = upkeep.conditions(SystemClock().now)
        problems, conflicts = upkeep.check(), upkeep.conflicts(MOST_CONFLICTS)
    except StepflowError as error:
        return [Condition("store", False, str(error))]
    runs = sum(n for statuses in numbers.values() for n in statuses.values())
    return [
        Condition(
            "store", not problems, "; ".join(problems) or f"{target.shown} is sound, {runs} run{'s' * (runs != 1)}"
        ),
        *conditions_of(numbers, paused, conflicts),
        *conditions,
    ]
