"""The verb `tail`: prints the revisions and calls of a run until it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

import click

from stepflow.cli.exit_codes import ATTENTION
from stepflow.cli.output import cell
from stepflow.cli.target import StoreTarget, with_store
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.client.info import HistoryEntry
from stepflow.engine.client.run import AsyncRun
from stepflow.engine.client.timeline import TimelineEntry
from stepflow.errors import error_line
from stepflow.model.lifecycle import Status

PAGE = 64


@click.command("tail")
@click.argument("run_id", metavar="ID")
@click.option("--every", default=0.5, show_default=True, type=click.FloatRange(0.01), help="Poll interval in seconds.")
@click.option("--no-follow", is_flag=True, help="Print what there is and return.")
@with_store
def command(target: StoreTarget, run_id: str, every: float, no_follow: bool) -> int:
    """Print each revision of a run, and each call of a workflow, when it is committed, until the run has ended.

    Each is one line, with --json one of JSON; a call has `seq` and its key as `where`.
    """

    async def work(engine: AsyncEngine) -> Status:
        run, printed = engine.get(run_id), set[Hashable]()
        while True:
            status = await run.status()
            for record in await _unprinted(run, printed, whole=status.final):
                _print(target, record)
            if no_follow or status.final:
                return status
            await asyncio.sleep(every)

    ended = target.run(work)
    return ATTENTION if ended in (Status.FAILED, Status.CANCELLED) else 0


async def _unprinted(
    run: AsyncRun[object], printed: set[Hashable], *, whole: bool
) -> list[HistoryEntry | TimelineEntry]:
    """The records that were not printed, oldest first. Of the last ones the row of a call may be far back: `whole` looks at all."""
    found, cursor = list[TimelineEntry](), None
    while True:
        page = await run.timeline(PAGE, cursor=cursor)
        fresh = [one for one in page if _mark(one) not in printed]
        found += fresh
        if (cursor := page.next) is None or not (fresh or whole):
            break
    printed.update(map(_mark, found))
    revs = [one.rev for one in found if one.rev is not None]
    entries = {entry.rev: entry for entry in await _since(run, min(revs))} if revs else {}
    records = [one if one.rev is None else entries.get(one.rev) for one in reversed(found)]
    return [record for record in records if record is not None]  # the run may have been pruned meanwhile


def _mark(record: TimelineEntry) -> Hashable:
    """What tells a record from others; the row of a call is replaced when another try, or the call, has ended."""
    return record.rev or (record.seq, record.kind, record.at)


async def _since(run: AsyncRun[object], rev: int) -> list[HistoryEntry]:
    """The revisions from `rev` on."""
    limit = PAGE
    while True:
        entries = await run.history(limit)
        if len(entries) < limit or entries[0].rev <= rev:
            return [entry for entry in entries if entry.rev >= rev]
        limit *= 4


def _print(target: StoreTarget, record: HistoryEntry | TimelineEntry) -> None:
    if target.out.json:
        return target.out.value(record)
    if isinstance(record, TimelineEntry):
        words = [cell(record.at), f"{record.kind} {record.where}", f"{'failed: ' * record.failed}{record.text}"]
    else:
        error = record.error and error_line(record.error.type, record.error.message, record.error.step)
        words = [cell(record.at), str(record.rev), " ".join(record.position), record.status, error or ""]
    return target.out.line("  ".join(word for word in words if word))
