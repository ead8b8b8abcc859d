"""The verb `tail`: prints the revisions of a run until it has ended."""

from __future__ import annotations

import asyncio

import click

from stepflow.cli.output import cell
from stepflow.cli.target import StoreTarget, with_store
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.client.info import HistoryEntry
from stepflow.engine.client.run import AsyncRun
from stepflow.errors import error_line

PAGE = 64


@click.command("tail")
@click.argument("run_id", metavar="ID")
@click.option("--every", default=0.5, show_default=True, type=click.FloatRange(0.01), help="Poll interval in seconds.")
@click.option("--no-follow", is_flag=True, help="Print the existing revisions and return.")
@with_store
def command(target: StoreTarget, run_id: str, every: float, no_follow: bool) -> None:
    """Print each revision of a run when it is committed, one line each (JSON lines with --json)."""

    async def work(engine: AsyncEngine) -> None:
        run, seen = engine.get(run_id), 0
        while True:
            for entry in await _newer(run, seen):
                _print(target, entry)
                seen = entry.rev
            if no_follow or (await run.status()).final:
                break
            await asyncio.sleep(every)
        for entry in await _newer(run, seen):
            _print(target, entry)

    target.run(work)


async def _newer(run: AsyncRun[object], seen: int) -> list[HistoryEntry]:
    """All revisions after `seen`."""
    limit = PAGE
    while True:
        entries = await run.history(limit)
        if len(entries) < limit or entries[0].rev <= seen:
            return [entry for entry in entries if entry.rev > seen]
        limit *= 4


def _print(target: StoreTarget, entry: HistoryEntry) -> None:
    if target.out.json:
        return target.out.value(entry)
    error = "" if entry.error is None else error_line(entry.error.type, entry.error.message, entry.error.step)
    words = (cell(entry.at), str(entry.rev), " ".join(entry.position), entry.status, error)
    return target.out.line("  ".join(word for word in words if word))
