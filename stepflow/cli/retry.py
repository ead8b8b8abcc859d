"""The verb `redrive`, also called `retry`: resumes failed runs, and by id blocked and waiting ones."""

from __future__ import annotations

from typing import Any

import click

from stepflow.cli.filters import affect, on_many
from stepflow.cli.target import StoreTarget, with_store
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.client.filters import RunFilter
from stepflow.engine.client.run import AsyncRun


def _command(name: str, text: str | None = None) -> click.Command:
    @click.command(name, help=text)
    @click.argument("run_ids", nargs=-1, metavar="[ID...]")
    @with_store
    @on_many
    def command(target: StoreTarget, run_ids: tuple[str, ...], wanted: RunFilter | None, yes: bool) -> int:
        """Resume failed runs at the step that failed, after the cause is fixed.

        Give ids: blocked and waiting runs are looked at again, too. Or give a filter: the failed runs that it means are listed, and with
        --yes resumed.
        """
        return affect(target, run_ids, _redrive, wanted, AsyncEngine.redrive, yes, "redrive")

    return command


async def _redrive(run: AsyncRun[Any]) -> str:
    await run.redrive()
    return "resumed"


command, redrive = _command("retry", "Another name of `redrive`."), _command("redrive")
