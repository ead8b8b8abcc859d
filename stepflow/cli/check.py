"""The verb `check`: before a deploy, tells which open runs of a store the flows of a module cannot advance."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from typing import Any

import click
from attrs import frozen

from stepflow.cli.definitions import MODULE_HELP, flows_of
from stepflow.cli.target import StoreTarget, with_store
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.client.info import RunInfo
from stepflow.errors import CodecError, UnknownState
from stepflow.model.flow import Flow
from stepflow.model.lifecycle import Status
from stepflow.model.state import POSITION, Transition
from stepflow.steps import StepFlow
from stepflow.steps.suggest import suggest

PAGE = 500


@frozen
class Row:
    """The open runs of a flow at one position: `verdict` is ok, unknown or unreadable, `remedy` tells what to do.

    A flow that the modules do not define has the verdict elsewhere, and no position.
    """

    flow: str
    position: list[str]
    runs: int
    verdict: str
    remedy: str = ""
    example: str = ""


@click.command("check", help=f"Check MODULEs against the open runs of the store.\n\nMODULE is {MODULE_HELP}.")
@click.argument("modules", nargs=-1, required=True, metavar="MODULE...")
@click.option("--sample", default=20, show_default=True, type=click.IntRange(0), help="Exchanges to read per position.")
@with_store
def command(target: StoreTarget, modules: tuple[str, ...], sample: int) -> int:
    """Exit code 3 if these definitions cannot advance a run."""
    flows = {flow.name: flow for module in modules for flow in flows_of(module)}

    async def work(engine: AsyncEngine) -> list[Row]:
        rows = [row for flow in flows.values() for row in await _rows(engine, flow, sample)]
        return rows + _elsewhere(await engine.tally(), flows)

    rows = target.run(work)
    if target.out.json:
        target.out.value(rows)
    else:
        table = ((r.flow, " ".join(r.position), r.runs, r.verdict, r.remedy, r.example) for r in rows)
        target.out.table(("flow", "position", "runs", "verdict", "remedy", "e.g. run"), table)
    return 0 if all(row.verdict in ("ok", "elsewhere") for row in rows) else 3


async def _rows(engine: AsyncEngine, flow: Flow[Any], sample: int) -> list[Row]:
    at: dict[tuple[str, ...], list[str]] = defaultdict(list)
    async for run in _open_runs(engine, flow.name):
        at[tuple(run.position)].append(run.id)
    return [await _check_position(engine, flow, list(position), ids, sample) for position, ids in sorted(at.items())]


def _elsewhere(tally: Mapping[str, Mapping[str, int]], flows: Mapping[str, Flow[Any]]) -> list[Row]:
    """One row for each flow that has open runs in the store but is not defined in the modules."""
    counts = {
        name: sum(n for status, n in statuses.items() if not Status(status).final)
        for name, statuses in sorted(tally.items())
        if name not in flows
    }
    remedy = "not defined here: only workers that define this flow advance its runs"
    return [Row(name, [], n, "elsewhere", remedy) for name, n in counts.items() if n]


async def _open_runs(engine: AsyncEngine, flow: str) -> AsyncIterator[RunInfo]:
    """Every run of the flow that has not ended; one that moves during the query may appear at its old or new position."""
    for status in Status:
        after: str | None = None
        while not status.final:
            page = await engine.runs(flow=flow, status=status, limit=PAGE, after=after)
            for run in page:
                yield run
            if len(page) < PAGE:
                break
            after = page[-1].id


async def _check_position(
    engine: AsyncEngine, flow: Flow[Any], position: list[str], ids: list[str], sample: int
) -> Row:
    try:
        flow.resume(Transition(flow.name, {POSITION: json.dumps(position)} if position else {}))
    except UnknownState:
        return Row(flow.name, position, len(ids), "unknown", _remedy(flow, position), ids[0])
    for run_id in ids[:sample]:
        try:
            await engine.get(flow, run_id).exchange()
        except CodecError as error:
            return Row(flow.name, position, len(ids), "unreadable", str(error), run_id)
    return Row(flow.name, position, len(ids), "ok", "", ids[0])


def _remedy(flow: Flow[Any], position: list[str]) -> str:
    similar = suggest(position[0], (edge.source for edge in flow.transitions)) if isinstance(flow, StepFlow) else ""
    return (
        f"keep that step until these runs have passed it; most similar: {similar}"
        if similar
        else "keep the old flow, too"
    )
