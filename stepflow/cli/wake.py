"""The verb `wake`: lets runs be looked at now that sleep, poll or are blocked."""

from __future__ import annotations

from typing import Any

import click

from stepflow.cli.filters import affect, on_many
from stepflow.cli.target import StoreTarget, with_store
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.client.filters import RunFilter
from stepflow.engine.client.run import AsyncRun


@click.command("wake")
@click.argument("run_ids", nargs=-1, metavar="[ID...]")
@with_store
@on_many
def command(target: StoreTarget, run_ids: tuple[str, ...], wanted: RunFilter | None, yes: bool) -> int:
    """Let runs be looked at now: those that sleep or poll do not wait for their time, blocked ones are tried again.

    Give ids, or a filter: the runs that it means are listed, and with --yes woken.
    """
    return affect(target, run_ids, _wake, wanted, AsyncEngine.wake, yes, "wake")


async def _wake(run: AsyncRun[Any]) -> str:
    await run.wake()
    return "woken"
