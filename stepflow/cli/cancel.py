"""The verb `cancel`: cancels runs."""

from __future__ import annotations

import click

from stepflow.cli.each import each
from stepflow.cli.target import StoreTarget, with_store
from stepflow.engine.client.run import AsyncRun


@click.command("cancel")
@click.argument("run_ids", nargs=-1, required=True, metavar="ID...")
@with_store
def command(target: StoreTarget, run_ids: tuple[str, ...]) -> int:
    """Cancel runs: at once, or when the current step has ended if a worker holds the run. A run that has ended is not changed."""
    return each(target, run_ids, _cancel)


async def _cancel(run: AsyncRun[object]) -> str:
    if (await run.status()).final:
        return "has ended, nothing to cancel"
    await run.cancel()
    return "cancel requested"
