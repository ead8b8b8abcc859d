"""The verb `move`: lets open runs of a chain go on at another position."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from stepflow.cli.definitions import MODULE_HELP, flow_of
from stepflow.cli.filters import affect_many, one_choice, with_filter
from stepflow.cli.target import StoreTarget, with_store
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.client.bulk import Affected
from stepflow.engine.client.filters import RunFilter


@click.command(
    "move",
    help="Let open runs of FLOW go on at another position, for example those whose position `check` does not know.\n\n"
    "The runs that the ids, the filter or --all mean are listed, and with --yes moved. No step is called, undone or repeated by that.\n\n"
    f"FLOW is {MODULE_HELP}.",
)
@click.argument("definition", metavar="FLOW")
@click.argument("run_ids", nargs=-1, metavar="[ID...]")
@click.option("--to", required=True, metavar="POSITION", help="E.g. completed:order/pay: the step behind it is next.")
@click.option("--all", "every", is_flag=True, help="All runs of FLOW that can be moved, without ids and filter.")
@click.option("--yes", is_flag=True, help="Move the runs; else they are only listed.")
@with_store
@with_filter
def command(
    target: StoreTarget, definition: str, run_ids: tuple[str, ...], to: str, every: bool, yes: bool, wanted: RunFilter
) -> int:
    """The name of the flow is part of the filter already."""
    text = "give the ids of runs, or a filter, e.g. --status blocked --position completed:order/old, or --all"
    one_choice(text, bool(run_ids), wanted != RunFilter(), every)
    flow = flow_of(definition)
    many = partial(_move, flow=flow, to=to)
    return affect_many(target, run_ids or wanted, many, yes, "move_runs", flow=flow.name, to=to)


async def _move(engine: AsyncEngine, runs: Any, *, flow: Any, to: str, **options: Any) -> Affected:
    return await engine.move(runs, flow, to, **options)  # which refuses a flow that is no chain
