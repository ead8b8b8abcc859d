"""The verb `migrate`: creates or updates the tables of a store, or prints the SQL for it."""

from __future__ import annotations

import click

from stepflow.cli.target import StoreTarget, with_store
from stepflow.drivers.registry import driver_for
from stepflow.engine.async_engine import AsyncEngine


@click.command("migrate")
@click.option("--print", "only_print", is_flag=True, help="Print the scripts; do not connect.")
@with_store
def command(target: StoreTarget, only_print: bool) -> None:
    """Create or update the store's tables. Opening a store does the same; use this command to choose the time."""
    scripts = driver_for(target.store).migrations()
    if not only_print:
        target.run(AsyncEngine.tally, create=True)
    newest = max((number for number, _script in scripts), default=None)
    if target.out.json:
        shown = [{"number": number, "script": script} for number, script in scripts] if only_print else []
        return target.out.value({"schema": newest, "scripts": shown})
    if only_print:
        for number, script in scripts:
            target.out.line(f"-- {number}\n{script.rstrip()}\n")
    elif newest is None:
        target.out.line(f"{target.store} exists; stores of this kind have no numbered schema")
    else:
        target.out.line(f"{target.store} has schema {newest}")
    return None
