"""The verb `fork`: starts a new run at an earlier revision or step of another one, or of many others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import click

from stepflow.cli.audited import audited
from stepflow.cli.definitions import distinct_flows, flows_option
from stepflow.cli.filters import affect_many, on_many
from stepflow.cli.target import StoreTarget, with_store
from stepflow.cli.values import one_place
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.client.bulk import Affected
from stepflow.engine.client.filters import RunFilter
from stepflow.model.flow import Flow


@click.command("fork")
@click.argument("run_ids", nargs=-1, metavar="[ID...]")
@click.option("--rev", type=int, help="At this revision of the history of the one run ID.")
@click.option(
    "--step",
    help="Before this step: of a chain the position before the step, as `stepflow show` prints it, or with --flows its name or path;"
    " of a workflow the key of a call; of a flow function its name.",
)
@click.option("--id", "new_id", help="The id of the new run of the one run ID; default: a new UUID.")
@click.option("--suffix", metavar="TEXT", help="What is put behind the id of each run for that of its new run.")
@flows_option("whose steps may be called by their names or paths, e.g. pay or order/pay")
@with_store
@on_many
def command(
    target: StoreTarget,
    run_ids: tuple[str, ...],
    wanted: RunFilter | None,
    rev: int | None,
    step: str | None,
    new_id: str | None,
    suffix: str | None,
    modules: tuple[str, ...],
    yes: bool,
) -> int:
    """Start a new run where a run was at a revision, or where runs were before a step.

    Give one ID, or with --suffix several, or a filter: the runs that it means are listed, and with --yes forked. Those whose fork exists
    are skipped.
    """
    if suffix is None:
        if len(run_ids) != 1:
            raise click.UsageError(
                "of several runs give --suffix TEXT, e.g. --suffix -again, for the ids of the new ones"
            )
        one_place(rev, step)
        return _one(target, run_ids[0], rev, step, new_id, distinct_flows(modules))
    if step is None or rev is not None or new_id is not None:
        raise click.UsageError("with --suffix give --step STEP, and neither --rev nor --id, which are of one run")
    many = partial(_many, step=step, suffix=suffix, flows=distinct_flows(modules))
    changes = yes or bool(run_ids)

    def line_of(run_id: str) -> str:
        return f"{run_id} -> {run_id}{suffix}"

    return affect_many(target, run_ids or wanted, many, changes, "fork_runs", line_of, step=step, suffix=suffix)


def _one(
    target: StoreTarget,
    run_id: str,
    rev: int | None,
    step: str | None,
    new_id: str | None,
    flows: Sequence[Flow[Any, Any]],
) -> int:
    async def work(engine: AsyncEngine) -> str:
        engine.register(*flows)
        async with audited(target, "fork_run", "run", run_id, rev=rev, step=step) as result:
            result["id"] = (await engine.get(run_id).fork(rev=rev, step=step, id=new_id)).id
            return str(result["id"])

    made = target.run(work)
    if target.out.json:
        target.out.value({"id": made, "of": run_id})
    target.out.line(made)
    return 0


async def _many(
    engine: AsyncEngine, runs: Any, *, step: str, suffix: str, flows: Sequence[Flow[Any, Any]], **options: Any
) -> Affected:
    engine.register(*flows)
    return await engine.fork(runs, step, suffix=suffix, **options)
