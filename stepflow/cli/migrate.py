"""The verb `migrate`: creates or updates the tables of a store, or prints the SQL for it."""

from __future__ import annotations

import click

from stepflow.cli.target import StoreTarget, with_store
from stepflow.drivers.registry import driver_for
from stepflow.engine.async_engine import AsyncEngine


@click.command("migrate")
@click.option("--print", "only_print", is_flag=True, help="Print the scripts; do not connect.")
@click.option("--citus", is_flag=True, help="Distribute the tables over a Citus cluster; stop all engines first.")
@with_store
def command(target: StoreTarget, only_print: bool, citus: bool) -> None:
    """Create or update the store's tables. Opening a store does the same; use this command to choose the time."""
    driver = driver_for(target.store)
    scripts: list[tuple[int | str, str]] = [*driver.migrations()]
    newest = scripts[-1][0] if scripts else None
    if citus:
        scripts.append(("citus", driver.distribution()))
    if not only_print:
        target.run(AsyncEngine.tally, create=True)
        if citus:
            driver.distribute()
    if target.out.json:
        shown = [{"number": number, "script": script} for number, script in scripts] if only_print else []
        return target.out.value({"schema": newest, "scripts": shown})
    if only_print:
        for number, script in scripts:
            target.out.line(f"-- {number}\n{script.rstrip()}\n")
    elif newest is None:
        target.out.line(f"{driver.url} exists; stores of this kind have no numbered schema")
    else:
        target.out.line(f"{driver.url} has schema {newest}" + (", distributed by Citus" if citus else ""))
    return None
