"""The verb `list`: prints runs with their status and position, or only their number."""

from __future__ import annotations

import sys
from typing import get_args

import click

from stepflow.cli.filters import hint_at_flow, with_filter
from stepflow.cli.target import StoreTarget, with_store
from stepflow.cli.values import Choice
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.checks import checked_statuses
from stepflow.engine.client.explain import why
from stepflow.engine.client.filters import Order, Page, RunFilter
from stepflow.engine.client.info import RunInfo
from stepflow.model.own_flows import OWN_FLOWS

COLUMNS = ("id", "flow", "status", "position", "why", "updated")


@click.command("list")
@click.option(
    "--order",
    type=Choice(get_args(Order)),
    default="created",
    show_default=True,
    help="By creation, id, last revision, or due time (those that sleep).",
)
@click.option("--ascending", is_flag=True, help="The first in this order first, instead of the last.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="At most this many runs.")
@click.option("--after", metavar="ID", help="Start after this run, the last one of the page before.")
@click.option("--cursor", metavar="TEXT", help="Start where the page before says.")
@click.option(
    "--count",
    is_flag=True,
    help="Print the number of runs per flow and status; with --flow, --status, --open, --ended and --label of these runs.",
)
@with_store
@with_filter
def command(
    target: StoreTarget,
    wanted: RunFilter,
    order: Order,
    ascending: bool,
    limit: int,
    after: str | None,
    cursor: str | None,
    count: bool,
) -> None:
    """List runs, the newest first."""
    if count:
        if wanted != RunFilter(flow=wanted.flow, status=wanted.status, open=wanted.open, labels=wanted.labels):
            raise click.UsageError("--count takes no filter but --flow, --status, --open, --ended and --label")
        if wanted.flow in OWN_FLOWS:
            raise click.UsageError(f"--count leaves out the runs of {wanted.flow}: list them without it")
        return _count(target, wanted)

    async def work(engine: AsyncEngine) -> Page[RunInfo]:
        """As many runs as asked for: a page may have fewer."""
        page = await engine.runs(wanted, order=order, ascending=ascending, limit=limit, after=after, cursor=cursor)
        found = list(page)
        while page.next is not None and len(found) < limit:
            page = await engine.runs(
                wanted, order=order, ascending=ascending, limit=limit - len(found), cursor=page.next
            )
            found += page
        if not found:
            await hint_at_flow(engine, wanted)
        return Page(found, page.next)

    runs = target.run(work)
    if target.out.json:
        target.out.value(runs)
    else:
        target.out.table(COLUMNS, ([r.id, r.flow, r.status, " ".join(r.position), why(r), r.updated_at] for r in runs))
    if runs.next is not None:
        by_id = order in ("created", "id")
        more = f"more: --after {runs[-1].id}" if by_id else f"more: --cursor {runs.next}"
        if target.out.json:
            sys.stderr.write(f"{more}\n")
        target.out.line(more)
    return None


def _count(target: StoreTarget, wanted: RunFilter) -> None:
    statuses = checked_statuses(wanted.status, wanted.open)

    async def work(engine: AsyncEngine) -> dict[str, dict[str, int]]:
        found = await engine.tally(labels=wanted.labels)
        if wanted.flow is not None:
            await hint_at_flow(engine, wanted)
            found = {flow: numbers for flow, numbers in found.items() if flow == wanted.flow}
        if statuses is None:
            return found
        some = {flow: {one: n for one, n in numbers.items() if one in statuses} for flow, numbers in found.items()}
        return {flow: numbers for flow, numbers in some.items() if numbers}

    numbers = target.run(work)
    if target.out.json:
        return target.out.value(numbers)
    rows = ((flow, status, n) for flow, statuses in sorted(numbers.items()) for status, n in sorted(statuses.items()))
    return target.out.table(("flow", "status", "runs"), rows)
