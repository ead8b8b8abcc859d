"""The verb `rewind`: lets runs go back to an earlier revision or step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import click

from stepflow.cli.definitions import distinct_flows, flows_option
from stepflow.cli.each import each
from stepflow.cli.filters import affect_many, on_many
from stepflow.cli.target import StoreTarget, with_store
from stepflow.cli.values import one_place
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.client.bulk import Affected
from stepflow.engine.client.filters import RunFilter
from stepflow.engine.client.run import AsyncRun
from stepflow.model.flow import Flow


@click.command("rewind")
@click.argument("run_ids", nargs=-1, metavar="[ID...]")
@click.option("--rev", type=int, help="To this revision of the history of the one run ID.")
@click.option(
    "--step",
    help="To before this step: of a chain the position before the step, as `stepflow show` prints it, or with --flows its name or path;"
    " of a workflow the key of a call; of a flow function its name.",
)
@flows_option("whose steps may be called by their names or paths, e.g. pay or order/pay")
@with_store
@on_many
def command(
    target: StoreTarget,
    run_ids: tuple[str, ...],
    wanted: RunFilter | None,
    rev: int | None,
    step: str | None,
    modules: tuple[str, ...],
    yes: bool,
) -> int:
    """Let runs that no worker holds go back, and go on from there in a new revision.

    Give ids, or a filter: the runs that it means are listed, and with --yes rewound.
    """
    one_place(rev, step)
    flows = distinct_flows(modules)
    if rev is not None and len(run_ids) != 1:
        raise click.UsageError("--rev is a revision of one run: give its ID, or --step STEP for many runs")

    async def act(run: AsyncRun[object]) -> str:
        await run.rewind(rev=rev, step=step)
        return "rewound"

    if wanted is None:
        return each(target, run_ids, act, "rewind_run", flows, rev=rev, step=step)
    return affect_many(target, wanted, partial(_many, step=step, flows=flows), yes, "rewind_runs", step=step)


async def _many(
    engine: AsyncEngine, runs: Any, *, step: Any, flows: Sequence[Flow[Any, Any]], **options: Any
) -> Affected:
    engine.register(*flows)
    return await engine.rewind(runs, step, **options)
