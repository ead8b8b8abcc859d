"""The verb `run`: starts a run, advances it in this process until it ends, and prints its result."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import click

from stepflow.cli.audited import audited
from stepflow.cli.definitions import MODULE_HELP, flow_of, flows_of
from stepflow.cli.interrupts import sigterm_as_interrupt
from stepflow.cli.start import given_input
from stepflow.cli.target import StoreTarget, with_store
from stepflow.cli.values import duration, json_text, label
from stepflow.engine.async_engine import AsyncEngine


@click.command(
    "run",
    help="Start a run of FLOW with INPUT, JSON text or - for stdin, advance it in this process until it ends, and print its result as JSON.\n\n"
    f"FLOW is {MODULE_HELP}. The same id again goes on with the same run.",
)
@click.argument("flow")
@click.argument("input", type=json_text, required=False)
@click.option("--id", "run_id", help="Id of the run.")
@click.option("--label", "labels", type=label, metavar="KEY=VALUE", multiple=True, help="May be given several times.")
@click.option("--timeout", type=duration, metavar="DURATION", help="Wait at most this long; the run is kept.")
@with_store
def command(
    target: StoreTarget,
    flow: str,
    input: str | None,  # noqa: A002 - the name in the help
    run_id: str | None,
    labels: tuple[tuple[str, str], ...],
    timeout: timedelta | None,
) -> None:
    """All flows of the module are advanced meanwhile: the run may have children."""
    definition = flow_of(flow)
    change = audited(target, "start_run", "run", run_id or "", flow=definition.name)
    exchange = given_input(definition, "null" if input is None else input, change)

    async def work(engine: AsyncEngine) -> tuple[str, str]:
        engine.register(*{one.name: one for one in (*flows_of(flow.partition(":")[0]), definition)}.values())
        async with change as result:
            run = await engine.start(definition, exchange, id=run_id, labels=dict(labels))
            result["id"] = run.id
        with sigterm_as_interrupt(asyncio.get_running_loop()):
            async with engine.worker():
                return run.id, definition.result_codec.encode(await run.result(timeout))

    found_id, result = target.run(work, create=True)
    if target.out.json:
        return target.out.value({"id": found_id, "flow": definition.name, "result": json.loads(result)})
    return target.out.line(result)
