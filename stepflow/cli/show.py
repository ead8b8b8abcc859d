"""The verb `show`: prints the status, position, exchange and history of one run."""

from __future__ import annotations

from typing import Any

import click

from stepflow.cli.output import cell
from stepflow.cli.target import StoreTarget, with_store
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.client.explain import SHOWN, named, unread, why
from stepflow.engine.client.info import HistoryEntry, RunInfo
from stepflow.errors import error_line


@click.command("show")
@click.argument("run_id", metavar="ID")
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1), help="How many of the newest revisions to show."
)
@with_store
def command(target: StoreTarget, run_id: str, limit: int) -> None:
    """Show a run: status, position, exchange, the traceback of its error, and history."""

    async def work(engine: AsyncEngine) -> tuple[RunInfo, Any, list[HistoryEntry], list[RunInfo]]:
        run = engine.get(run_id)
        info, children = await run.info(), await engine.runs(parent=run_id, open=True, limit=SHOWN + 1)
        return info, await run.exchange(), await run.history(limit), children

    info, exchange, history, children = target.run(work)
    if target.out.json:
        ids = [child.id for child in children]
        return target.out.value({"info": info, "exchange": exchange, "history": history, "open_children": ids})
    facts = [
        ("run", info.id),
        ("flow", info.flow),
        ("status", info.status),
        ("position", " ".join(info.position)),
        ("why", why(info)),
        ("parent", info.parent),
        ("children", named(children)),
        ("cancel", "requested" if info.cancel_requested else ""),
        ("labels", " ".join(f"{k}={v}" for k, v in info.labels.items())),
        ("created", info.created_at),
        ("updated", info.updated_at),
        ("due", info.due),
        ("times out", info.deadline),
        ("unread", unread(info)),
        ("trace", info.trace_id),
        ("input", "" if info.input is None or info.status != "completed" else info.input),
        ("exchange", exchange),
    ]
    for name, value in facts:
        if text := cell(value):
            target.out.line(f"{name:10}{text}")
    if info.error is not None and info.error.traceback:
        target.out.line(f"\n{info.error.traceback.rstrip()}")
    target.out.line("")
    return target.out.table(("rev", "at", "position", "note"), map(_row, history))


def _row(entry: HistoryEntry) -> tuple[Any, ...]:
    note = (
        entry.status
        if entry.error is None
        else f"{entry.status} {error_line(entry.error.type, entry.error.message)}".strip()
    )
    return entry.rev, entry.at, " ".join(entry.position), note
