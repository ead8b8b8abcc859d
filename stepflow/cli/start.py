"""The verb `start`: creates a run of a flow."""

from __future__ import annotations

import sys
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any

import click

from stepflow.cli.audited import audited, refused
from stepflow.cli.definitions import MODULE_HELP, flow_of
from stepflow.cli.target import StoreTarget, with_store
from stepflow.cli.values import duration, json_text, label, limit, timestamp
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.client.payload_check import read_input
from stepflow.engine.remote.remote_flow import remote_flow
from stepflow.errors import CodecError
from stepflow.model.flow import Flow
from stepflow.model.limits import Limit


@click.command(
    "start",
    help=f"Start a run of FLOW with INPUT, JSON text or - for stdin.\n\nFLOW is {MODULE_HELP}; with --remote the name of a flow function that hosts serve.",
)
@click.argument("flow")
@click.argument("input", type=json_text, required=False)
@click.option("--remote", is_flag=True, help="FLOW is the name of a flow function, e.g. mail.send, that hosts serve.")
@click.option("--id", "run_id", help="Id of the run; the same id and input again return the same run.")
@click.option("--label", "labels", type=label, metavar="KEY=VALUE", multiple=True, help="May be given several times.")
@click.option("--at", type=timestamp, metavar="TIME", help="Earliest time of the first step.")
@click.option(
    "--priority",
    default=0,
    show_default=True,
    help="Runs of the flow with a lower number go first, below 0 before all flows.",
)
@click.option(
    "--limit",
    "limits",
    type=limit,
    metavar="KEY=N[/TIME]",
    multiple=True,
    help="At most N runs of KEY at a time, or N starts in any TIME, e.g. 60s.",
)
@click.option(
    "--dedup-key", help="Start nothing if the flow was started with this key within the window; print that run's id."
)
@click.option(
    "--dedup-window", type=duration, metavar="TIME", default="5m", show_default=True, help="E.g. 90s, 15m, 12h."
)
@click.option(
    "--run-timeout", type=duration, metavar="TIME", help="The run fails if it has not ended in time, e.g. 12h."
)
@with_store
def command(
    target: StoreTarget,
    flow: str,
    input: str | None,  # noqa: A002 - the name in the help
    remote: bool,
    run_id: str | None,
    labels: tuple[tuple[str, str], ...],
    at: datetime | None,
    priority: int,
    limits: tuple[Limit, ...],
    dedup_key: str | None,
    dedup_window: timedelta,
    run_timeout: timedelta | None,
) -> None:
    """Start a run and print its id."""
    definition = remote_flow(flow) if remote else flow_of(flow, ", or start it by --remote if hosts serve it")
    when = None if at is None else at.isoformat()
    change = audited(target, "start_run", "run", run_id or "", flow=definition.name, at=when)
    exchange = given_input(definition, "null" if input is None else input, change)

    async def work(engine: AsyncEngine) -> str:
        async with change as result:
            run = await engine.start(
                definition,
                exchange,
                id=run_id,
                labels=dict(labels),
                at=at,
                priority=priority,
                limits=limits,
                dedup_key=dedup_key,
                dedup_window=dedup_window,
                run_timeout=run_timeout,
            )
            result["id"] = run.id
        return run.id

    started = target.run(work, create=True)
    if target.out.json:
        return target.out.value({"id": started, "flow": definition.name})
    target.out.line(started)
    if sys.stdout.isatty():
        hosts = "--remote URL --secret-file FILE" if remote else flow
        target.out.line(f"to advance it: stepflow worker {hosts} --store {target.shown}")
    return None


def given_input(flow: Flow[Any, Any], text: str, change: AbstractAsyncContextManager[Any]) -> Any:
    """The input of a flow from JSON text. The audit is told of a start that is refused because of it: `change` is its entry."""
    try:
        return read_input(flow, text)
    except CodecError as error:
        raise refused(change, error) from error
