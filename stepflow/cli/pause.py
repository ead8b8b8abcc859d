"""The verbs `pause` and `resume`: hold runs or flows back, over all workers, and let them go on."""

from __future__ import annotations

import sys
from functools import partial

import click
from attrs import evolve

from stepflow.cli.each import each, each_flow
from stepflow.cli.filters import affect_many, one_choice, with_filter
from stepflow.cli.target import StoreTarget, with_store
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.client.explain import shell_word
from stepflow.engine.client.filters import RunFilter
from stepflow.engine.client.run import AsyncRun
from stepflow.model.lifecycle import Status

_runs = click.argument("run_ids", nargs=-1, metavar="[ID...]")
_flows = click.option(
    "--flow",
    "flows",
    multiple=True,
    metavar="NAME",
    help="Without other conditions the flow itself, with all runs that it has and will have; may be given several times."
    " With them, or with --all, only runs of this flow.",
)
_all = click.option("--all", "every", is_flag=True, help="All runs that the verb can change, one by one.")
_yes = click.option("--yes", is_flag=True, help="Change the runs of the filter; else they are only listed.")


@click.command("pause")
@_runs
@_flows
@_all
@_yes
@with_store
@partial(with_filter, flow=False)
def command(
    target: StoreTarget, run_ids: tuple[str, ...], flows: tuple[str, ...], wanted: RunFilter, every: bool, yes: bool
) -> int:
    """Hold runs back, or with --flow alone flows, until they are resumed.

    Give ids, flows, or a filter: the runs that it means are listed, and with --yes paused.
    """
    return _set(target, run_ids, flows, wanted, every, yes, paused=True)


@click.command("resume")
@_runs
@_flows
@_all
@_yes
@with_store
@partial(with_filter, flow=False)
def resume(
    target: StoreTarget, run_ids: tuple[str, ...], flows: tuple[str, ...], wanted: RunFilter, every: bool, yes: bool
) -> int:
    """Let paused runs, or with --flow alone paused flows, go on.

    Give ids, flows, or a filter: the paused runs that it means are listed, and with --yes resumed. Runs of a paused flow wait for that.
    """
    return _set(target, run_ids, flows, wanted, every, yes, paused=False)


def _set(
    target: StoreTarget,
    run_ids: tuple[str, ...],
    flows: tuple[str, ...],
    wanted: RunFilter,
    every: bool,
    yes: bool,
    *,
    paused: bool,
) -> int:
    verb = "pause" if paused else "resume"
    many = every or wanted != RunFilter()
    text = "give the ids of runs, a filter such as --status sleeping, or --all; or --flow NAME"
    if many or not flows:
        one_choice(text, bool(run_ids), wanted != RunFilter(), every and wanted == RunFilter())
    if many:
        if len(flows) > 1:
            raise click.UsageError(f"a filter means runs of one flow: give one --flow, not {len(flows)}")
        do = AsyncEngine.pause if paused else AsyncEngine.resume
        return affect_many(target, evolve(wanted, flow=flows[0]) if flows else wanted, do, yes, f"{verb}_runs")
    if yes:
        raise click.UsageError("--yes goes with a filter or --all: ids and flows are changed at once")
    done = "paused" if paused else "resumed"

    async def one(run: AsyncRun[object]) -> str:
        await (run.pause() if paused else run.resume())
        if not paused and (info := await run.info()).status is Status.PAUSED:
            sys.stderr.write(f"flow {info.flow!r} is paused, too: stepflow resume --flow {shell_word(info.flow)}\n")
        return done

    each_flow(
        target, flows, lambda at, name: at.pause_flow(name) if paused else at.resume_flow(name), done, f"{verb}_flow"
    )
    return each(target, run_ids, one, f"{verb}_run")
