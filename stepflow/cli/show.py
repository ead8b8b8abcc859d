"""The verb `show`: prints the status, position, exchange and timeline of one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from attrs import frozen

from stepflow.cli.definitions import distinct_flows, flows_option
from stepflow.cli.target import StoreTarget, with_store
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.client.explain import SHOWN, named, reason, unread, why
from stepflow.engine.client.filters import Page
from stepflow.engine.client.info import HistoryEntry, RunInfo
from stepflow.engine.client.timeline import TimelineEntry
from stepflow.model.durations import length_text
from stepflow.model.lifecycle import Status


@frozen
class _RunView:
    info: RunInfo
    exchange: Any
    history: Sequence[HistoryEntry]
    timeline: Page[TimelineEntry]
    children: Sequence[RunInfo]
    explanation: str


@click.command("show")
@click.argument("run_id", metavar="ID")
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1), help="How many of the newest records to show."
)
@flows_option("whose plans tell which step is executed")
@with_store
def command(target: StoreTarget, run_id: str, limit: int, modules: tuple[str, ...]) -> None:
    """Show a run: status, position, annotations (notes), exchange, the traceback of its error, and its revisions and recorded calls in the order of time.

    AFTER is the time since the record before, behind a sleep since its end. JSON has the newest revisions with their exchanges, too (history).
    """
    flows = distinct_flows(modules)

    async def work(engine: AsyncEngine) -> _RunView:
        engine.register(*flows)
        run = engine.get(run_id)
        info, children = await run.info(), await engine.runs(parent=run_id, open=True, limit=SHOWN + 1)
        history = await run.history(limit) if target.out.json else []
        exchange = None if info.unreadable else await run.exchange()
        return _RunView(info, exchange, history, await run.timeline(limit), children, await run.explain())

    found = target.run(work)
    info, children, exchange = found.info, found.children, found.exchange
    if target.out.json:
        ids = [child.id for child in children]
        shown = {"info": info, "exchange": exchange, "history": found.history, "timeline": found.timeline[::-1]}
        return target.out.value({**shown, "open_children": ids, "explain": found.explanation.splitlines()})
    held_or_due = info.status in (Status.RUNNING, Status.QUEUED)
    facts = [
        ("run", info.id),
        ("flow", info.flow),
        ("status", info.status),
        ("position", " ".join(info.position)),
        ("failed step", "" if info.error is None else info.error.step),
        ("why", reason(found.explanation) if held_or_due else why(info)),
        ("parent", info.parent),
        ("children", named(children)),
        ("cancel", "requested" if info.cancel_requested else ""),
        ("labels", " ".join(f"{k}={v}" for k, v in info.labels.items())),
        ("notes", info.annotations or ""),
        ("created", info.created_at),
        ("updated", info.updated_at),
        ("due", None if info.owner else info.due),  # a claim keeps the time at which it was due
        ("times out", info.deadline),
        ("ends by", info.ends_at),
        ("unread", unread(info)),
        ("trace", info.trace_id),
        ("input", "" if info.input is None or info.status != "completed" else info.input),
        (_exchange_name(info), info.unreadable or exchange),
    ]
    for name, value in facts:
        target.out.fact(name, value)
    if info.error is not None and info.error.traceback:
        target.out.line(f"\n{info.error.traceback.rstrip()}")
    target.out.line("")
    if found.timeline.next is not None:
        target.out.line(f"the newest {limit} records; a larger --limit shows older ones")
    return target.out.table(("rev", "at", "after", "position", "note"), map(_row, reversed(found.timeline)))


def _exchange_name(info: RunInfo) -> str:
    """What the exchange is: a workflow has its input there until its result takes that place."""
    if info.input is None:
        return "exchange"
    return "result" if info.status is Status.COMPLETED else "input"


def _row(entry: TimelineEntry) -> tuple[Any, ...]:
    """A revision with its position, a call with its kind and its key."""
    after = None if entry.after is None else length_text(entry.after)
    if entry.rev is not None:
        return (
            entry.rev,
            entry.at,
            after,
            " ".join(entry.position) or entry.where,
            " ".join(filter(None, (entry.status, entry.text))),
        )
    tried = f"attempt {entry.attempt}: " if entry.attempt > 1 else ""
    failed = "failed: " if entry.failed else ""
    return None, entry.at or "unknown", after, f"{entry.kind} {entry.where}", f"{tried}{failed}{entry.text}"
