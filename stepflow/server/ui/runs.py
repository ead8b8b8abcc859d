"""The page of runs: search, filters, counts by status, and pages of the list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from attrs import frozen

from stepflow.engine.client.filters import Order, Page, RunFilter, is_indexed
from stepflow.engine.client.info import RunInfo
from stepflow.errors import StepflowError
from stepflow.model.lifecycle import Status
from stepflow.server.ui.label_text import labels_of
from stepflow.server.ui.view import UiPage, View

SIZE = 50  # runs on a page
SCANS = 10  # of 100,000 runs each, for a page that is not full
TIMES = ("since", "until", "updated_since", "updated_until")  # the first two are of the creation
MORE_FIELDS = (*TIMES, "parent", "error", "error_text", "position")  # folded up until one is used
FIELDS = ("id", "flow", "label", *MORE_FIELDS)
STATUSES = tuple(status.value for status in Status)


@frozen
class RunsQuery:
    """What the URL of the page asks for."""

    wanted: RunFilter
    order: Order
    cursor: str | None


def query_of(view: View) -> RunsQuery:
    """What the URL asks for. Raises StepflowError for a value that cannot be meant."""
    wanted = RunFilter(
        flow=view.query("flow") or None,
        status=view.queries("status") or None,
        labels=labels_of(view.query("label")),
        id_prefix=view.query("id") or None,
        created_since=_time("since", view.query("since")),
        created_until=_time("until", view.query("until")),
        updated_since=_time("updated_since", view.query("updated_since")),
        updated_until=_time("updated_until", view.query("updated_until")),
        error_type=view.query("error") or None,
        error_text=view.query("error_text") or None,
        position=view.query("position") or None,
        parent=view.query("parent") or None,
    )
    by_id = wanted.id_prefix is not None  # then the order of ids is that of an index, of all others it is not
    return RunsQuery(wanted, "id" if by_id else "created", view.query("cursor") or None)


def _time(name: str, text: str) -> datetime | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise StepflowError(f"{name}={text!r:.40}: give a time such as 2030-01-31T18:30, which is UTC") from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _is_time(text: str) -> bool:
    try:
        return _time("", text) is not None
    except StepflowError:
        return False


async def show(view: View) -> Mapping[str, Any]:
    """The runs of a page, and the counts above it."""
    counts = await view.engine.recent_tally.read()
    fields = {name: view.query(name) for name in FIELDS}
    values: dict[str, Any] = {
        "fields": fields,
        "chosen": view.queries("status"),
        "statuses": STATUSES,
        "flows": sorted({*counts, view.query("flow")} - {""}),
        "tally": _tally(counts, view.query("flow")),
        "more_used": any(view.query(name) for name in MORE_FIELDS),
        "filtered": any(view.query(name) for name in (*FIELDS, "status")),
        "cursor": view.query("cursor"),
    }
    try:
        query = query_of(view)
        page = await _page(view, query)
    except StepflowError as error:
        fields |= {name: "" for name in TIMES if not _is_time(fields[name])}  # browsers complain of others
        return values | {"runs": Page[RunInfo](), "wrong": str(error), "status_code": 400}
    return values | {"runs": page, "wrong": ""}


async def _page(view: View, query: RunsQuery) -> Page[RunInfo]:
    """A page of the list. A condition that only few runs meet is asked several times, each time of many runs."""
    found, cursor = list[RunInfo](), query.cursor
    for _ in range(SCANS if is_indexed(query.wanted) else 1):
        page = await view.engine.runs(
            query.wanted, order=query.order, ascending=query.order == "id", limit=SIZE - len(found), cursor=cursor
        )
        found += page
        cursor = page.next
        if cursor is None or len(found) == SIZE:
            break
    return Page(found, cursor)


def _tally(counts: Mapping[str, Mapping[str, int]], flow: str) -> list[tuple[str, int]]:
    """How many runs have each status: of all flows, or of this one."""
    found = Counter[str]()
    for name, statuses in counts.items():
        if not flow or name == flow:
            found.update(statuses)
    return [(status, found[status]) for status in STATUSES if found[status]]


PAGE = UiPage("/runs", "Runs", "runs.html", show, nav="Runs", live="runs.live.html")
