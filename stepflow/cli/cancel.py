"""The verb `cancel`: cancels runs."""

from __future__ import annotations

from typing import Any

import click

from stepflow.cli.filters import affect, on_many
from stepflow.cli.target import StoreTarget, with_store
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.client.filters import RunFilter
from stepflow.engine.client.run import AsyncRun


@click.command("cancel")
@click.argument("run_ids", nargs=-1, metavar="[ID...]")
@with_store
@on_many
def command(target: StoreTarget, run_ids: tuple[str, ...], wanted: RunFilter | None, yes: bool) -> int:
    """Cancel runs: at once, or when the current step has ended if a worker holds the run. A run that has ended is not changed.

    Give ids, or a filter: the runs that it means are listed, and with --yes cancelled.
    """
    return affect(target, run_ids, _cancel, wanted, AsyncEngine.cancel, yes, "cancel")


async def _cancel(run: AsyncRun[Any]) -> str:
    if (await run.status()).final:
        return "has ended, nothing to cancel"
    await run.cancel()
    return "cancel requested"
