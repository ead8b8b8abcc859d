"""The verb `prune`: deletes runs that ended before a given age."""

from __future__ import annotations

from datetime import timedelta

import click

from stepflow.cli.audited import audited
from stepflow.cli.progress import counting
from stepflow.cli.target import StoreTarget, keep_ids_option, with_store
from stepflow.cli.values import duration
from stepflow.engine.async_engine import AsyncEngine
from stepflow.wire.json_form import to_json_value


@click.command("prune")
@click.option(
    "--older-than",
    type=duration,
    metavar="DURATION",
    default="30d",
    show_default=True,
    help="Delete runs that ended longer ago than this.",
)
@keep_ids_option
@with_store
def command(target: StoreTarget, older_than: timedelta, keep_ids: timedelta | None) -> None:
    """Delete runs that ended long ago, with their history. Open and parked runs are never deleted."""
    revisions = 0

    async def work(engine: AsyncEngine) -> int:
        with counting("runs deleted") as report:

            def note(runs: int, so_far: int) -> None:
                nonlocal revisions
                revisions = so_far
                report(runs)

            async with audited(target, "prune", "store", older_than=to_json_value(older_than)) as result:
                result["count"] = await engine.prune(older_than, note)
            return int(result["count"])

    deleted = target.run(work, keep_ids=keep_ids)
    if target.out.json:
        return target.out.value({"deleted": deleted, "revisions": revisions})
    return target.out.line(f"{deleted} run{'s' * (deleted != 1)} deleted, {revisions} revision{'s' * (revisions != 1)}")
