"""The verb `migrate`: makes a store's tables, brings them up to date, or prints the SQL that does."""

from __future__ import annotations

import click

from stepflow.cli.target import StoreTarget, with_store
from stepflow.drivers.registry import driver_for
from stepflow.engine.async_engine import AsyncEngine


@click.command("migrate")
@click.option("--print", "only_print", is_flag=True, help="Print the scripts, change nothing, connect to nothing.")
@with_store
def command(target: StoreTarget, only_print: bool) -> None:
    """Make or update the store's tables. Opening a store does the same; this is for doing it at a time of your own."""
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
        target.out.line(f"{target.store} is there; stores of its kind have no numbered schema")
    else:
        target.out.line(f"{target.store} has schema {newest}")
    return None
