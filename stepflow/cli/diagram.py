"""The verb `diagram`: draws a flow, with the position of a run if one is given."""

from __future__ import annotations

import click

from stepflow.cli.definitions import MODULE_HELP, flow_of
from stepflow.cli.target import StoreTarget, with_store
from stepflow.cli.values import Choice
from stepflow.engine.async_engine import AsyncEngine
from stepflow.errors import StepflowError
from stepflow.steps import StepFlow
from stepflow.steps.diagram import Format

FORMATS: tuple[Format, ...] = ("text", "mermaid", "dot")


@click.command("diagram", help=f"Draw FLOW.\n\nFLOW is {MODULE_HELP}.")
@click.argument("flow")
@click.option("--format", "form", type=Choice(FORMATS), default="text", show_default=True, help="Output format.")
@click.option("--run", "run_id", metavar="ID", help="Highlight the position of this run; needs --store.")
@with_store(needed=False)
def command(target: StoreTarget, flow: str, form: Format, run_id: str | None) -> None:
    """Draw the chain, with the position of a run if one is given."""
    definition = flow_of(flow)
    if not isinstance(definition, StepFlow):
        raise click.UsageError(f"{flow} is not a step flow: only step flows have a diagram")
    position = None if run_id is None else target.run(lambda engine: _position(engine, run_id, definition.name))
    drawn = definition.diagram(form, state=position)
    if target.out.json:
        return target.out.value({"flow": definition.name, "format": form, "position": position, "diagram": drawn})
    return target.out.line(drawn.rstrip("\n"))


async def _position(engine: AsyncEngine, run_id: str, flow: str) -> list[str]:
    info = await engine.get(run_id).info()
    if info.flow != flow:
        raise StepflowError(f"run {run_id!r} belongs to flow {info.flow!r}, not to {flow!r}: draw that flow")
    return info.position
