"""The verb `resolve`: says how a call of unknown outcome ended."""

from __future__ import annotations

import json

import click

from stepflow.cli.audited import audited
from stepflow.cli.target import StoreTarget, with_store
from stepflow.cli.values import json_text
from stepflow.engine.async_engine import AsyncEngine
from stepflow.model.lifecycle import Status


@click.command("resolve")
@click.argument("run_id", metavar="ID")
@click.argument("step")
@click.argument("value", type=json_text, default="null")
@click.option(
    "--failed", metavar="MESSAGE", help="The call failed, or did not take place: the step fails with this message."
)
@with_store
def command(target: StoreTarget, run_id: str, step: str, value: str, failed: str | None) -> None:
    """Say that the call of STEP, which is made at most once, took place; it returned VALUE (JSON text, or - for stdin).

    STEP is the key of a call, or a step of a chain. For such a step VALUE is the exchange after it; without it the exchange stays as it was.
    """
    if failed is not None and value != "null":
        raise click.UsageError("give VALUE or --failed MESSAGE, not both")

    async def work(engine: AsyncEngine) -> Status:
        run = engine.get(run_id)
        verb = "resolve_call" if failed is None else "resolve_call_failed"
        async with audited(target, verb, "run", run_id, step=step):
            await (run.resolve(step, json.loads(value)) if failed is None else run.resolve_failed(step, failed))
        return await run.status()

    status = target.run(work)
    if target.out.json:
        return target.out.value({"id": run_id, "step": step, "status": status})
    return target.out.line(f"{run_id}: {step} is resolved, now {status}")
