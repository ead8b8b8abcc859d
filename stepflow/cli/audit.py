"""The verb `audit`: prints who changed what through a server."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any, get_args

import click
from attrs import evolve

from stepflow.cli.target import StoreTarget, with_store
from stepflow.cli.values import Choice
from stepflow.drivers.port.notes import AUDIT, OUTCOMES, VERBS, NoteKind, NotePage
from stepflow.drivers.registry import driver_for
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.client.filters import RunFilter
from stepflow.errors import CodecError, NotFound
from stepflow.wire.audit_entry import entry_of, labels_wanted
from stepflow.wire.json_form import to_json_value

COLUMNS = ("at", "who", "via", "verb", "target", "outcome", "arguments", "result", "message")


@click.command("audit")
@click.option("--who", metavar="NAME", help="Only what was asked for with the token of this name.")
@click.option(
    "--verb", type=Choice(VERBS), metavar="NAME", help="Only this operation of the server's API, e.g. cancel_run."
)
@click.option("--kind", type=Choice(get_args(NoteKind)), help="Only what was done to one of these.")
@click.option(
    "--target",
    "name",
    metavar="ID",
    help="Only entries that name this run, flow, schedule or topic, alone or among the runs of a change of many.",
)
@click.option(
    "--outcome",
    type=Choice(OUTCOMES),
    metavar="NAME",
    help="Only with this outcome: begun, done, cancelled, or the code of a refusal.",
)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000), help="At most this many.")
@click.option("--cursor", metavar="TEXT", help="Start where the page before says.")
@with_store
def command(target: StoreTarget, name: str | None, limit: int, cursor: str | None, **given: str | None) -> None:
    """List who changed what through a server of this store, the newest first.

    The entries are in the store: its own URL shows them as that of the server does.
    """
    facts = {key: value for key, value in {**given, "target": name}.items() if value is not None}
    page = driver_for(target.store).notes(target.namespace, facts, limit, cursor)
    if page is None:
        wanted = RunFilter(labels=labels_wanted({**facts, "namespace": target.namespace}))
        page = evolve(target, namespace=AUDIT, payload=None).run(lambda engine: _stored(engine, wanted, limit, cursor))
    if target.out.json:
        target.out.value(page.entries)
    else:
        target.out.table(COLUMNS, ([_cell(one, column) for column in COLUMNS] for one in page.entries))
    if page.next is not None:
        sys.stderr.write(f"more: --cursor {page.next}\n")


async def _stored(engine: AsyncEngine, wanted: RunFilter, limit: int, cursor: str | None) -> NotePage:
    """The entries that the store itself has."""
    found = await engine.runs(wanted, limit=limit, cursor=cursor)
    stored = await asyncio.gather(*(_text(engine, run.id) for run in found))
    entries = [
        to_json_value(entry_of(text, run.labels, run.created_at, run.updated_at))
        for run, text in zip(found, stored, strict=True)
        if text is not None
    ]
    return NotePage(entries, found.next)


async def _text(engine: AsyncEngine, entry_id: str) -> str | None:
    """What an entry is stored as, empty if that is damaged; None if it was pruned meanwhile."""
    try:
        return json.dumps(await engine.get(entry_id).exchange())
    except NotFound:
        return None
    except CodecError:
        return ""


def _cell(entry: Mapping[str, Any], column: str) -> Any:
    """The value of a column: a time as one, and nothing for an empty object."""
    value = entry[column]
    return datetime.fromisoformat(value) if column == "at" else value or None
