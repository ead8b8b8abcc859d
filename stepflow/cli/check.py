"""The verb `check`: before a deploy, tells which open runs of a store the flows of a module cannot advance."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from itertools import count
from typing import Any

import click
from attrs import frozen

from stepflow.cli.definitions import MODULE_HELP, flows_of
from stepflow.cli.exit_codes import ATTENTION
from stepflow.cli.progress import counting
from stepflow.cli.replays import Replays
from stepflow.cli.target import StoreTarget, with_store
from stepflow.cli.values import duration
from stepflow.engine.async_engine import AsyncEngine
from stepflow.engine.client.info import RunInfo
from stepflow.errors import CodecError, UnknownState
from stepflow.model.flow import Flow
from stepflow.model.lifecycle import Status
from stepflow.model.state import DEADLINE, POSITION, WAITING, Transition
from stepflow.model.suggest import suggest
from stepflow.replay.workflow import Workflow
from stepflow.steps import StepFlow

PAGE = 500


@frozen
class Row:
    """The open runs of a flow that wait in one way at one position, with one `verdict`.

    It is ok, waits, unknown or unreadable, and of workflows also diverges, blocked or fails. `waits`: a worker of this definition lets
    them wait otherwise, or not at all. `diverges`: the workflow goes another way than the run did. `blocked`: it misuses its calls.
    `fails`: its code between the calls raises, or does not end. `remedy` tells what to do. A flow that the modules do not define has
    the verdict elsewhere, and no position.
    """

    flow: str
    position: list[str]
    runs: int
    verdict: str
    remedy: str = ""
    example: str = ""


@click.command("check", help=f"Check MODULEs against the open runs of the store.\n\nMODULE is {MODULE_HELP}.")
@click.argument("modules", nargs=-1, required=True, metavar="MODULE...")
@click.option(
    "--sample",
    default=1000,
    show_default=True,
    type=click.IntRange(0),
    help="Runs to look into per flow and position: their exchanges are read, and workflows are replayed.",
)
@click.option(
    "--limit",
    type=duration,
    metavar="DURATION",
    default="10s",
    show_default=True,
    help="Time for the replay of one run.",
)
@with_store
def command(target: StoreTarget, modules: tuple[str, ...], sample: int, limit: timedelta) -> int:
    """Look into the open runs of each flow.

    No step is called; the code of a workflow between its calls is, in a process of its own.
    """
    flows = {flow.name: flow for module in modules for flow in flows_of(module)}

    async def work(engine: AsyncEngine) -> list[Row]:
        with counting("runs looked at") as report:
            seen = count(1)
            async with Replays(modules, limit.total_seconds()) as replays:
                rows = [
                    row
                    for flow in flows.values()
                    for row in await _rows(engine, flow, sample, replays, lambda: report(next(seen)))
                ]
        return rows + _elsewhere(await engine.tally(), flows)

    rows = target.run(work)
    if target.out.json:
        target.out.value(rows)
    elif not rows:
        target.out.line(f"ok: no run of the {len(flows)} flow(s) of these modules is open")
    else:
        table = ((r.flow, " ".join(r.position), r.runs, r.verdict, r.remedy, r.example) for r in rows)
        target.out.table(("flow", "position", "runs", "verdict", "remedy", "e.g. run"), table)
    return 0 if all(row.verdict in ("ok", "waits", "elsewhere") for row in rows) else ATTENTION


async def _rows(
    engine: AsyncEngine, flow: Flow[Any, Any], sample: int, replays: Replays, looked: Callable[[], object]
) -> list[Row]:
    at: dict[tuple[str, str, bool], list[str]] = defaultdict(list)
    async for run in _open_runs(engine, flow.name):
        at[json.dumps(run.position), run.waiting_for, run.deadline is not None].append(run.id)
        looked()
    if isinstance(flow, Workflow):
        return [
            row for place in sorted(at) for row in await _replayed(engine, flow, place[0], at[place], sample, replays)
        ]
    return [await _check_position(engine, flow, *place, ids, sample) for place, ids in sorted(at.items())]


async def _replayed(
    engine: AsyncEngine, flow: Flow[Any, Any], text: str, ids: list[str], sample: int, replays: Replays
) -> list[Row]:
    """A row for each cause by which runs cannot go on, and one for those that can, or were not replayed."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for run_id in ids[:sample]:
        replayed = await replays.replay(flow.name, await engine.get(flow, run_id).recording())
        found[replayed.verdict, replayed.cause].append((run_id, replayed.text))
    position, ok = json.loads(text), [run_id for run_id, _ in found.pop(("ok", ""), ())] + ids[sample:]
    rows = [
        Row(flow.name, position, len(runs), verdict, runs[0][1], runs[0][0])
        for (verdict, _), runs in sorted(found.items())
    ]
    note = f"{sample} of {len(ids)} were replayed" if len(ids) > sample else ""
    return [*rows, *([Row(flow.name, position, len(ok), "ok", note, ok[0])] if ok else [])]


def _elsewhere(tally: Mapping[str, Mapping[str, int]], flows: Mapping[str, Flow[Any, Any]]) -> list[Row]:
    """One row for each flow that has open runs in the store but is not defined in the modules."""
    counts = {
        name: sum(n for status, n in statuses.items() if not Status(status).final)
        for name, statuses in sorted(tally.items())
        if name not in flows
    }
    remedy = "not defined here: only workers that define this flow advance its runs"
    return [Row(name, [], n, "elsewhere", remedy) for name, n in counts.items() if n]


async def _open_runs(engine: AsyncEngine, flow: str) -> AsyncIterator[RunInfo]:
    """Every run of the flow that has not ended, once."""
    cursor = None
    while True:
        page = await engine.runs(flow=flow, open=True, limit=PAGE, cursor=cursor)
        for run in page:
            yield run
        if (cursor := page.next) is None:
            return


async def _check_position(
    engine: AsyncEngine, flow: Flow[Any, Any], text: str, waiting_for: str, limited: bool, ids: list[str], sample: int
) -> Row:
    position, notes = json.loads(text), {WAITING: waiting_for, POSITION: text} | ({DEADLINE: "0"} if limited else {})
    transition = Transition(flow.name, {name: note for name, note in notes.items() if note not in ("", "[]")})
    try:
        move = flow.resume(transition)
    except UnknownState:
        return Row(flow.name, position, len(ids), "unknown", _remedy(flow, position), ids[0])
    for run_id in ids[:sample]:
        run = engine.get(flow, run_id)
        try:
            await run.exchange()
        except CodecError as error:
            return Row(flow.name, position, len(ids), "unreadable", str(error), run_id)
        if problems := await run.unfit_events():
            return Row(flow.name, position, len(ids), "unreadable", problems[0], run_id)
    if not flow.waits_at(transition):
        now = [f"event {task.event!r}" if task.event else task.step for task in move.tasks]
        remedy = (
            f"they wait for {waiting_for}; once a worker registers this definition they go on with {', '.join(now)}"
        )
        return Row(flow.name, position, len(ids), "waits", remedy, ids[0])
    return Row(flow.name, position, len(ids), "ok", "", ids[0])


def _remedy(flow: Flow[Any, Any], position: list[str]) -> str:
    similar = suggest(position[0], (edge.source for edge in flow.transitions)) if isinstance(flow, StepFlow) else ""
    return (
        f"keep that step until these runs have passed it; most similar: {similar}"
        if similar
        else "keep the old flow, too"
    )
