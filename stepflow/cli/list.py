"""The verb `list`: prints runs with their status and position, or only their number."""

from __future__ import annotations

import click

from stepflow.cli.target import StoreTarget, with_store
from stepflow.cli.values import label
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.client.info import RunInfo
from stepflow.model.lifecycle import Status

COLUMNS = ("id", "flow", "status", "position", "why", "updated")


@click.command("list")
@click.option("--flow", help="Only runs of this flow.")
@click.option(
    "--status",
    "statuses",
    type=click.Choice([str(s) for s in Status]),
    multiple=True,
    help="Only runs with this status; may be given several times.",
)
@click.option("--open/--ended", "is_open", default=None, help="Only runs that have not ended, or that have.")
@click.option(
    "--label",
    "labels",
    type=label,
    metavar="KEY=VALUE",
    multiple=True,
    help="Only runs with this label; with several, all must match.",
)
@click.option("--parent", metavar="ID", help="Only the runs that this run started as its children.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="At most this many runs.")
@click.option("--after", metavar="ID", help="Start after this run, the last one of the page before.")
@click.option("--count", is_flag=True, help="Print the number of runs per flow and status.")
@with_store
def command(
    target: StoreTarget,
    flow: str | None,
    statuses: tuple[str, ...],
    is_open: bool | None,
    labels: tuple[tuple[str, str], ...],
    parent: str | None,
    limit: int,
    after: str | None,
    count: bool,
) -> None:
    """List runs, the newest first."""
    if count:
        return _count(target, dict(labels))

    async def work(engine: AsyncEngine) -> list[RunInfo]:
        return await engine.runs(
            flow=flow,
            status=statuses or None,
            open=is_open,
            labels=dict(labels),
            parent=parent,
            limit=limit,
            after=after,
        )

    runs = target.run(work)
    if target.out.json:
        return target.out.value(runs)
    target.out.table(COLUMNS, ([r.id, r.flow, r.status, " ".join(r.position), why(r), r.updated_at] for r in runs))
    if len(runs) == limit:
        target.out.line(f"more: --after {runs[-1].id}")
    return None


def _count(target: StoreTarget, labels: dict[str, str]) -> None:
    numbers = target.run(lambda engine: engine.tally(labels=labels))
    if target.out.json:
        return target.out.value(numbers)
    rows = ((flow, status, n) for flow, statuses in sorted(numbers.items()) for status, n in sorted(statuses.items()))
    return target.out.table(("flow", "status", "runs"), rows)


def why(run: RunInfo) -> str:
    """The error of the run, or what it waits for, as a short text."""
    if run.error is not None:
        return f"{run.error.type}: {run.error.message}"
    return str(run.blocked or run.waiting_for)
