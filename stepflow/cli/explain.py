"""The verb `explain`: tells why a run does not move, and which command would move it."""

from __future__ import annotations

import click

from stepflow.cli.definitions import distinct_flows, flows_option
from stepflow.cli.target import StoreTarget, with_store
from stepflow.engine.async_engine import AsyncEngine


@click.command("explain")
@click.argument("run_id", metavar="ID")
@flows_option("whose plans tell which step is executed")
@with_store
def command(target: StoreTarget, run_id: str, modules: tuple[str, ...]) -> None:
    """Tell why a run does not move, since when, and which command would move it."""

    flows = distinct_flows(modules)

    async def work(engine: AsyncEngine) -> str:
        engine.register(*flows)
        return await engine.get(run_id).explain()

    text = target.run(work)
    if target.out.json:
        return target.out.value({"id": run_id, "explanation": text})
    return target.out.line(text)
