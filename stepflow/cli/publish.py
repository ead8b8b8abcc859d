"""The verb `publish`: publishes an event to a run."""

from __future__ import annotations

import json

import click

from stepflow.cli.target import StoreTarget, with_store
from stepflow.cli.values import json_text
from stepflow.engine.async_engine import AsyncEngine
from stepflow.model.lifecycle import Status


@click.command("publish")
@click.argument("run_id", metavar="ID")
@click.argument("event")
@click.argument("payload", type=json_text, default="null")
@click.option("--id", "event_id", help="Id of the event; the same id is stored once.")
@with_store
def command(target: StoreTarget, run_id: str, event: str, payload: str, event_id: str | None) -> None:
    """Publish EVENT with PAYLOAD (JSON text, or - for stdin) to run ID."""

    async def work(engine: AsyncEngine) -> Status:
        run = engine.get(run_id)
        await run.publish(event, json.loads(payload), id=event_id)
        return await run.status()

    status = target.run(work)
    if target.out.json:
        return target.out.value({"id": run_id, "event": event, "status": status})
    return target.out.line(f"{run_id}: {event} is published")
