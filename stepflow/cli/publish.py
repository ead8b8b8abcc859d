"""The verb `publish`: publishes an event to a run, or to all runs of a filter."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import click

from stepflow.cli.audited import audited
from stepflow.cli.definitions import flows_of, flows_option
from stepflow.cli.filters import affect_many, with_filter
from stepflow.cli.target import StoreTarget, with_store
from stepflow.cli.values import json_text
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.client.bulk import Affected
from stepflow.engine.client.filters import RunFilter
from stepflow.errors import CodecError
from stepflow.model.flow import Flow
from stepflow.model.lifecycle import Status
from stepflow.model.suggest import suggest


@click.command("publish")
@click.argument("args", nargs=-1, required=True, metavar="[ID] EVENT [PAYLOAD]")
@click.option("--id", "event_id", help="Id of the event; the same id is stored once.")
@flows_option("whose runs take no payload that does not fit the type of their wait")
@click.option("--all", "every", is_flag=True, help="All runs that have not ended, without a filter.")
@click.option("--yes", is_flag=True, help="Publish to the runs of the filter; else they are only listed.")
@with_store
@with_filter
def command(
    target: StoreTarget,
    args: tuple[str, ...],
    event_id: str | None,
    modules: tuple[str, ...],
    wanted: RunFilter,
    every: bool,
    yes: bool,
) -> int | None:
    """Publish EVENT with PAYLOAD (JSON text, or - for stdin; null if it is left out) to run ID.

    With a filter there is no ID: the runs that it means are listed, and with --yes each gets the event. A payload that does not fit what
    the run waits for is refused. Before it waits, --flows tells the types of a chain; else it is accepted, and fails the step that takes it.
    """
    flows = {flow.name: flow for module in modules for flow in flows_of(module)}
    many = every or wanted != RunFilter()
    run_id, event, payload = _parts(args, many)
    if many:
        publish = partial(_publish, event=event, payload=payload, event_id=event_id, flows=flows)
        return affect_many(target, wanted, publish, yes, "publish_to_runs", event=event, event_id=event_id)

    async def work(engine: AsyncEngine) -> Status:
        run = engine.get(run_id)
        engine.register(*flows.values())
        async with audited(target, "publish_event", "run", run_id, event=event, event_id=event_id):
            try:
                flow = await run.check_event(event, payload)
            except CodecError as error:
                raise error if len(args) > 2 else CodecError(f"{error}; without PAYLOAD null is published") from error
            if flow is not None:
                run = engine.get(flow, run_id)  # it warns of an event for which the flow does not wait
            awaits = (await run.info()).awaits
            await run.publish(event, payload, id=event_id)
        if flow is None or not flow.events:  # the names of its other events are not known
            _warn_of_misspelt(run_id, event, awaits)
        return await run.status()

    status = target.run(work)
    if target.out.json:
        target.out.value({"id": run_id, "event": event, "status": status})
    target.out.line(f"{run_id}: {event} is published")
    return None


def _warn_of_misspelt(run_id: str, event: str, awaits: Sequence[str]) -> None:
    """Tell on stderr that the run waits for an event with a similar name."""
    if event not in awaits and (similar := suggest(event, awaits)):
        sys.stderr.write(
            f"run {run_id} waits for event {similar!r}: did you mean that? {event!r} is kept for a later wait\n"
        )


def _parts(args: tuple[str, ...], many: bool) -> tuple[str, str, Any]:
    """The id, empty for a filter, the name of the event, and the payload."""
    given = ("", *args) if many else args
    if not 2 <= len(given) <= 3:
        wrong = "EVENT [PAYLOAD] with a filter" if many else "ID EVENT [PAYLOAD], or a filter and EVENT [PAYLOAD]"
        raise click.UsageError(f"give {wrong}")
    return given[0], given[1], json.loads(json_text(given[2])) if len(given) == 3 else None


async def _publish(
    engine: AsyncEngine,
    runs: RunFilter,
    *,
    event: str,
    payload: Any,
    event_id: str | None,
    flows: Mapping[str, Flow[Any, Any]],
    **options: Any,
) -> Affected:
    engine.register(*flows.values())
    return await engine.publish(runs, event, payload, id=event_id, **options)
