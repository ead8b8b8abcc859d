"""The reading operations on runs: lists, one run, why it does not move, its history, its journal and its timeline."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from attrs import frozen
from msgspec import Meta

from stepflow.drivers.port.journal import JournalQuery, JournalRow
from stepflow.engine.client.explain import SHOWN
from stepflow.engine.client.filters import Order
from stepflow.engine.client.info import HistoryEntry, RunInfo
from stepflow.engine.client.timeline import TimelineEntry
from stepflow.engine.clock import moment
from stepflow.errors import TooLarge
from stepflow.model.codec import SEALED, UNOPENED
from stepflow.server.operator_api.filters import FilterQuery
from stepflow.server.operator_api.operation import LONGEST_CURSOR, Cursor, InNamespace, Operation, OperatorCall, Text

Limit = Annotated[int, Meta(ge=1, le=1000)]
TimelineCursor = Annotated[str, Meta(pattern=r"^[0-9]{1,19}-[0-9]{1,19}$")]
Rev = Annotated[int, Meta(ge=1, le=2**53)]


class ListOfRuns(FilterQuery, frozen=True, kw_only=True):
    """The runs of a list, and its order."""

    order: Annotated[
        Order, Meta(description="By creation, id, last revision, or due time (then only runs that sleep).")
    ] = "created"
    ascending: Annotated[bool, Meta(description="The first in this order first, instead of the last.")] = False
    limit: Limit = 50
    cursor: Annotated[Cursor | None, Meta(description="The `next` of the page before.")] = None


class RunIdQuery(InNamespace, frozen=True, kw_only=True):
    """One run."""

    id: Annotated[Text, Meta(description="The id of the run.")]


class HistoryOfRun(RunIdQuery, frozen=True, kw_only=True):
    """A part of a history."""

    limit: Limit = 20
    before: Annotated[Rev | None, Meta(description="Only revisions before this one.")] = None


class TimelineOfRun(RunIdQuery, frozen=True, kw_only=True):
    """A part of a timeline."""

    limit: Limit = 100
    cursor: Annotated[TimelineCursor | None, Meta(description="The `next` of the page before.")] = None


class JournalOfRun(RunIdQuery, frozen=True, kw_only=True):
    """A part of a journal."""

    limit: Limit = 100
    after: Annotated[int, Meta(ge=0, le=2**53, description="Only rows behind this `seq`.")] = 0


@frozen
class RunPage:
    """Runs, and the `cursor` of the page that follows; a page that has a `next` may be shorter than asked for, even empty."""

    runs: list[RunInfo]
    next: str | None


@frozen
class RunDetails:
    """A run with its exchange (JSON as it is stored), why it does not move, and its open children, of which at most 5 are named.

    `unreadable` tells why the exchange is null although there is one.
    """

    info: RunInfo
    exchange: Any
    unreadable: str
    explain: list[str]
    open_children: list[str]


@frozen
class Explanation:
    """Why a run does not move, since when, and the command that moves it, line by line."""

    id: str
    lines: list[str]


@frozen
class HistoryPage:
    """Revisions, oldest first; `before` asks for those before them, null if these are the first that are kept."""

    entries: list[HistoryEntry]
    before: int | None


@frozen
class JournalEntry:
    """One journalled call: what kind of call, of which function, when it was recorded, and what it returned, or the error with which it `failed`.

    `at` is null if an older version recorded it.
    """

    seq: int
    key: str
    kind: str
    name: str
    failed: bool
    at: datetime | None
    value: Any
    unreadable: str


@frozen
class JournalPage:
    """Rows in the order of their first writing; `after` asks for those behind them, null if there are none."""

    rows: list[JournalEntry]
    after: int | None


@frozen
class TimelinePage:
    """Revisions and calls, the newest first; `next` is the cursor of those before them, null if there are none.

    `after` is the time since the record before, behind a sleep since the end of that; null: no record before is known.
    """

    entries: list[TimelineEntry]
    next: str | None


async def list_runs(call: OperatorCall) -> RunPage:
    """List runs, by filter, in pages."""
    query: ListOfRuns = call.query
    if (wanted := query.filter()) is None:
        return RunPage([], None)
    page = await call.engine.runs(
        wanted, order=query.order, ascending=query.ascending, limit=query.limit, cursor=query.cursor
    )
    if page.next is not None and len(page.next) > LONGEST_CURSOR:
        raise TooLarge(f"the cursor of the next page of a list by {query.order} is too long for a request: give a narrower filter, or order=created")  # fmt: skip
    return RunPage(list(page), page.next)


async def get_run(call: OperatorCall) -> RunDetails:
    """Read one run."""
    run_id = call.query.id
    run, record = call.engine.get(run_id), await call.engine.client.load(run_id)
    info, lines = await run.info(), (await run.explain(store=call.address)).splitlines()
    children = await call.engine.client.open_children(run_id, SHOWN)
    value, unreadable = readable(record.exchange)
    return RunDetails(info, value, info.unreadable or unreadable, lines, [child.id for child in children])


async def explain_run(call: OperatorCall) -> Explanation:
    """Tell why a run does not move."""
    return Explanation(call.query.id, (await call.engine.get(call.query.id).explain(store=call.address)).splitlines())


async def get_history(call: OperatorCall) -> HistoryPage:
    """Read the newest revisions of a run, or those before one."""
    query: HistoryOfRun = call.query
    found = await call.engine.get(query.id).history(query.limit, before=query.before)
    if not found:
        await call.engine.client.load(query.id)  # NotFound, if there is no such run
    return HistoryPage(found, found[0].rev if found else None)


async def get_journal(call: OperatorCall) -> JournalPage:
    """Read the journal of a run: the results of its single calls."""
    query: JournalOfRun = call.query
    await call.engine.client.load(query.id)
    rows: Sequence[JournalRow]
    (rows,) = await call.engine.reader.read(JournalQuery((query.id,), query.limit + 1, after=query.after))
    shown = rows[: query.limit]
    return JournalPage([_entry(row) for row in shown], shown[-1].seq if len(rows) > len(shown) else None)


def _entry(row: JournalRow) -> JournalEntry:
    at = moment(row.at) if row.at else None
    return JournalEntry(row.seq, row.key, row.kind, row.name, row.failed, at, *readable(row.text))


async def get_timeline(call: OperatorCall) -> TimelinePage:
    """Read what happened to a run, and when: its revisions and the calls in its journal."""
    query: TimelineOfRun = call.query
    page = await call.engine.get(query.id).timeline(query.limit, cursor=query.cursor)
    return TimelinePage(list(page), page.next)


def readable(text: str) -> tuple[Any, str]:
    """The JSON value of a stored text, or None and why it cannot be read here."""
    try:
        return (json.loads(text) if text else None), ""
    except ValueError as error:
        return None, UNOPENED if text[:1] == SEALED else str(error)


OPERATIONS = (
    Operation(path="/runs", scope="read", kind="runs", call=list_runs, answer=RunPage, query=ListOfRuns, refusals=(404, 413)),
    Operation(path="/run", scope="read", kind="run", call=get_run, answer=RunDetails, query=RunIdQuery, refusals=(404,)),
    Operation(
        path="/run/explain", scope="read", kind="run", call=explain_run, answer=Explanation, query=RunIdQuery, refusals=(404,)
    ),
    Operation(
        path="/run/history", scope="read", kind="run", call=get_history, answer=HistoryPage, query=HistoryOfRun, refusals=(404, 409)
    ),
    Operation(
        path="/run/journal", scope="read", kind="run", call=get_journal, answer=JournalPage, query=JournalOfRun, refusals=(404,)
    ),
    Operation(
        path="/run/timeline", scope="read", kind="run", call=get_timeline, answer=TimelinePage, query=TimelineOfRun, refusals=(404,)
    ),
)  # fmt: skip
