"""query: answers the queries of the port from the memory tables."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from itertools import islice

from stepflow.drivers.memory.run import MemoryRun
from stepflow.drivers.memory.tables import MemoryTables
from stepflow.drivers.port.commit import Peer, Record
from stepflow.drivers.port.delays import DataQuery, DelayQuery
from stepflow.drivers.port.journal import JournalQuery
from stepflow.drivers.port.queries import (
    EndedQuery,
    HistoryQuery,
    LimitUsageQuery,
    NotDueQuery,
    OwnerQuery,
    PrunedQuery,
    Revision,
    RunQuery,
    Tally,
    TallyQuery,
)
from stepflow.drivers.port.schedules import ScheduleQuery, ScheduleRow
from stepflow.drivers.port.store import Answer, Query
from stepflow.errors import NotFound
from stepflow.model.lifecycle import status_of


def answer(tables: MemoryTables, query: Query) -> Answer:
    """The rows that match the query."""
    match query:
        case HistoryQuery():
            return _history(tables, query)
        case RunQuery():
            return _runs(tables, query)
        case TallyQuery():
            return _tally(tables, query)
        case NotDueQuery():
            runs = [*tables.runs.values(), *tables.pending.values()]
            return [sum(_asleep(run, query) for run in runs), sum(_blocked(run, query) for run in runs)]
        case EndedQuery():
            return [run_id for run_id in query.ids if _is_over(tables.runs.get(run_id))]
        case DelayQuery():
            return tables.attached.read_delays(query)
        case DataQuery():
            return tables.attached.read_data(query)
        case LimitUsageQuery():
            return [tables.limit_usage().of(query.limits, query.now)]
        case JournalQuery():
            entries = [tables.entry(key) for key in query.ids]
            return [() if run is None else tuple(run.journal.values()) for run in entries]
        case PrunedQuery():
            return [tables.pruned[run_id] for run_id in query.ids if run_id in tables.pruned]
        case ScheduleQuery():
            return _schedules(tables, query)
        case OwnerQuery():
            return [Peer(owner) for _id, owner in sorted(tables.owners.items())]


def _schedules(tables: MemoryTables, query: ScheduleQuery) -> list[ScheduleRow]:
    rows = [tables.schedules[key] for key in sorted(tables.schedules) if query.id is None or key == query.id]
    if query.until is not None:
        due = sorted((row.due, row.id, row) for row in rows if row.due is not None and row.due <= query.until)
        return [row for _due, _id, row in due][: query.limit]
    return [row for row in rows if query.after is None or row.id > query.after][: query.limit]


def _history(tables: MemoryTables, query: HistoryQuery) -> list[Revision]:
    run = None if query.id is None else tables.runs.get(query.id)
    log = tables.log if query.id is None else (run.revisions if run else [])
    end = len(log) if query.until_rev is None else _after(log, query.until_rev)
    window = range(_after(log, query.since_rev), end)
    order = reversed(window) if query.last else window
    found = list(islice((log[i] for i in order if _matches(tables, log[i], query)), max(query.limit, 0)))
    if query.exchange:
        found = _bounded(found, query.max_size)
    found = found[::-1] if query.last else found
    return found if query.exchange else [Revision(revision.state, "") for revision in found]


def _bounded(found: list[Revision], max_size: int) -> list[Revision]:
    """The first revisions whose exchanges, each counted once, have at most this size together; one at least."""
    size, last = 0, ""
    for number, revision in enumerate(found):
        size, last = size + (0 if revision.exchange is last else len(revision.exchange)), revision.exchange
        if number and size > max_size:
            return found[:number]
    return found


def _after(log: list[Revision], rev: int) -> int:
    return bisect_right(log, rev, key=lambda revision: revision.state.rev)


def _matches(tables: MemoryTables, revision: Revision, query: HistoryQuery) -> bool:
    state = revision.state
    if query.id is None and not tables.shows(revision):
        return False
    if query.latest_only and tables.runs[state.id].state.rev != state.rev:
        return False
    if state.committed_at < query.since:
        return False
    return not query.labels or any(group.items() <= state.labels.items() for group in query.labels)


def _asleep(run: MemoryRun, query: NotDueQuery) -> bool:
    row = run.row
    if row is None:
        return run.state.transition.events != () and run.created.flow in query.flows
    return row.flow in query.flows and not row.owner and not row.blocked and row.due > query.now


def _blocked(run: MemoryRun, query: NotDueQuery) -> bool:
    row = run.row
    return row is not None and row.flow in query.flows and not row.owner and row.blocked != ""


def _is_over(run: MemoryRun | None) -> bool:
    return run is None or run.state.transition.status != ""


def _age(run: MemoryRun) -> tuple[int, str]:
    return run.created.created_at, run.state.id


def _fits(run: MemoryRun, query: RunQuery) -> bool:
    labels = run.state.labels
    return (
        (query.flow is None or run.created.flow == query.flow)
        and not (query.open and run.state.transition.status)
        and all(labels.get(name) == value for name, value in (query.labels or {}).items())
        and (query.status is None or status_of(run.state, run.row, query.now).value == query.status)
    )


def _runs(tables: MemoryTables, query: RunQuery) -> list[Record]:
    every = tables.runs.values()
    runs = sorted((run for run in every if run.state.transition.events or not query.awaits), key=_age, reverse=True)
    if query.after is not None:
        if query.after not in tables.runs:
            raise NotFound(f"after={query.after!r}: there is no such run any more; ask for the first page again")
        last = _age(tables.runs[query.after])
        runs = [run for run in runs if _age(run) < last]
    return [run.record(full=False) for run in runs if _fits(run, query)][: query.limit]


def _tally(tables: MemoryTables, query: TallyQuery) -> list[Tally]:
    counts = Counter((run.created.flow, status_of(run.state, run.row, query.now).value) for run in tables.runs.values())
    return [Tally(flow, status, number) for (flow, status), number in sorted(counts.items())]
