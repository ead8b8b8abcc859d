"""The verb `doctor`: checks this environment and the store."""

from __future__ import annotations

import platform
import sqlite3
import sys
from importlib.metadata import version

import click

from stepflow.cli.target import StoreTarget, with_store
from stepflow.drivers.port.queries import Condition
from stepflow.drivers.registry import driver_for
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.clock import SystemClock
from stepflow.errors import StepflowError

MOST_CONFLICTS = 10  # that are shown


@click.command("doctor")
@with_store(needed=False)
def command(target: StoreTarget) -> int:
    """Check versions and, with a store, its health. Exit code 3 if something needs attention."""
    findings = _environment() + (_store(target) if target.store else [])
    if target.out.json:
        target.out.value(findings)
    else:
        target.out.table(
            ("what", "state", "found"), ((f.what, "ok" if f.ok else "attention", f.found) for f in findings)
        )
    return 0 if all(f.ok for f in findings) else 3


def _environment() -> list[Condition]:
    packages = ", ".join(f"{name} {version(name)}" for name in ("attrs", "cattrs", "click", "rich"))
    return [
        Condition("python", sys.version_info >= (3, 11), f"{platform.python_version()} on {platform.platform()}"),
        Condition("packages", True, packages),
        Condition("sqlite", sqlite3.sqlite_version_info >= (3, 38), sqlite3.sqlite_version),
    ]


def _store(target: StoreTarget) -> list[Condition]:
    try:
        numbers = target.run(AsyncEngine.tally)
        upkeep = driver_for(target.store).maintenance(target.namespace)
        conditions = upkeep.conditions(SystemClock().now)
        problems, conflicts = upkeep.check(), upkeep.conflicts(MOST_CONFLICTS)
    except StepflowError as error:
        return [Condition("store", False, str(error))]
    runs = sum(n for statuses in numbers.values() for n in statuses.values())
    blocked = sum(statuses.get("blocked", 0) for statuses in numbers.values())
    return [
        Condition(
            "store", not problems, "; ".join(problems) or f"{target.store} is sound, {runs} run{'s' * (runs != 1)}"
        ),
        Condition(
            "blocked runs", not blocked, f"{blocked}" + (": see stepflow list --status blocked" if blocked else "")
        ),
        Condition(
            "transactions of callers",
            not conflicts,
            "; ".join(f"a {one.posted} of run {one.run_id} could not take place: {one.reason}" for one in conflicts)
            or "all that was committed took place",
        ),
        *conditions,
    ]
