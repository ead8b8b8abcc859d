"""The page of one run: why it does not move, where it is, its values, its timeline and its children."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import MAXYEAR
from typing import Any

from attrs import frozen
from markupsafe import Markup

from stepflow.drivers.port.journal import JournalQuery, JournalRow
from stepflow.engine.client.info import RunInfo, of_users
from stepflow.model.data import ALIAS_PREFIX
from stepflow.model.state import STYLE, State
from stepflow.server.errors import Refusal
from stepflow.server.guard import server_url
from stepflow.server.operator_api.runs import readable
from stepflow.server.ui.json_tree import json_tree
from stepflow.server.ui.run_asks import buttons_of
from stepflow.server.ui.run_diagram import MOST_BOXES, diagram_of
from stepflow.server.ui.view import UiPage, View

CHILDREN, RECORDS, EVENTS = 20, 100, 20  # that are shown
OWN_PREFIX = "stepflow."  # of the annotations that the library writes


@frozen
class Shown:
    """A stored value as HTML, or why it cannot be read here."""

    tree: Markup
    problem: str


def shown(text: str) -> Shown:
    """The value of a stored text."""
    value, problem = readable(text)
    return Shown(Markup() if problem else json_tree(value), problem)


def run_id_of(view: View) -> str:
    """The run that the URL names."""
    if not (found := view.request.query_params.get("id", "")):
        raise Refusal(400, "invalid_argument", "the address names no run: add ?id=ID")
    return found


async def show(view: View) -> Mapping[str, Any]:
    """All that the page tells of a run."""
    engine, run_id = view.engine, run_id_of(view)
    run, record = engine.get(run_id), await engine.client.load(run_id)
    info = await run.info()
    cursor = view.request.query_params.get("cursor") or None
    timeline = await run.timeline(RECORDS, cursor=cursor)
    rows: Sequence[JournalRow] = ()
    if record.journaled:
        (rows,) = await engine.reader.read(JournalQuery((run_id,), MOST_BOXES + 1, last=True))
    children = await engine.runs(parent=run_id, limit=CHILDREN)
    revisions = [] if cursor else [entry for entry in reversed(timeline) if entry.rev is not None]
    picture_title, picture = diagram_of(info, engine.flows.get(info.flow), revisions, rows)
    prefix, events = len(ALIAS_PREFIX), of_users(record.events)
    return {
        "run": info,
        "actions": buttons_of(view, info),
        "explanation": (await run.explain(store=server_url(view.request))).splitlines(),
        "facts": _facts(info),
        "picture_title": picture_title,
        "picture": picture,
        "input": None if info.input is None or info.status != "completed" else json_tree(info.input),
        "exchange_title": _exchange_title(info, record.state),
        "exchange": shown(record.exchange),
        "annotations": _annotations(record.state),
        "datas": sorted(name[prefix:] for name in record.state.annotations if name.startswith(ALIAS_PREFIX)),
        "timeline": timeline,
        "cursor": cursor,
        "children": children,
        "events": [(event.name, shown(event.payload)) for event in events[:EVENTS]],
        "more_events": len(events[EVENTS:]),
        "labels": list(info.labels.items()),
    }


def _facts(info: RunInfo) -> list[tuple[str, Any]]:
    """What is worth telling of a run, with its name; times stay times."""
    goes_on = None if info.due is None or info.due.year == MAXYEAR else info.due  # else only an operator moves it
    facts: list[tuple[str, Any]] = [
        ("created", info.created_at),
        ("updated", info.updated_at),
        ("goes on at", goes_on),
        ("times out at", info.deadline),
        ("ends at the latest at", info.ends_at),
        ("attempt", info.attempt if info.attempt > 1 else None),
        ("owner", info.owner),
        ("priority", info.priority or None),
        ("revision", info.rev),
        ("crashes", info.crashes or None),
        ("limits", ", ".join(limit.key for limit in info.limits)),
        ("cancel", "requested" if info.cancel_requested else None),
        ("trace", info.trace_id),
    ]
    return [(name, value) for name, value in facts if value not in (None, "")]


def _exchange_title(info: RunInfo, state: State) -> str:
    """What the exchange is: a workflow has its input there until its result takes that place."""
    if info.status == "completed":
        return "Result"
    return "Input" if STYLE in state.transition.annotations else "Exchange"


@frozen
class Annotation:
    """An annotation: it stays with the run, or it is that of its present revision; `internal` ones were written by the library."""

    name: str
    value: str
    stays: bool
    internal: bool


def _annotations(state: State) -> list[Annotation]:
    """The annotations of a run, those of users first; data are shown elsewhere."""
    found = [
        Annotation(name, value, stays, name.startswith(OWN_PREFIX))
        for notes, stays in ((state.annotations, True), (state.transition.annotations, False))
        for name, value in notes.items()
        if not name.startswith(ALIAS_PREFIX)
    ]
    return sorted(found, key=lambda one: (one.internal, one.name))


PAGE = UiPage("/run", "{{ run.id }}", "run.html", show, live="run.live.html")
