"""The verb `retry`: resumes failed, blocked and waiting runs."""

from __future__ import annotations

import click

from stepflow.cli.each import each
from stepflow.cli.target import StoreTarget, with_store
from stepflow.engine.client.run import AsyncRun


@click.command("retry")
@click.argument("run_ids", nargs=-1, required=True, metavar="ID...")
@with_store
def command(target: StoreTarget, run_ids: tuple[str, ...]) -> int:
    """Resume failed runs at the step that failed, after the cause is fixed; blocked and waiting runs are looked at again."""
    return each(target, run_ids, _redrive)


async def _redrive(run: AsyncRun[object]) -> str:
    await run.redrive()
    return "resumed"
