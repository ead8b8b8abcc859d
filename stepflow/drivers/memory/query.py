"""query: answers the queries of the port from the memory tables."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from operator import attrgetter, itemgetter

from stepflow.drivers.memory.run import MemoryRun
from stepflow.drivers.memory.tables import MemoryTables
from stepflow.drivers.port.commit import Peer
from stepflow.drivers.port.delays import DataQuery, DelayQuery
from stepflow.drivers.port.journal import JournalQuery
from stepflow.drivers.port.pauses import PausedFlowRow, PausedFlowsQuery
from stepflow.drivers.port.queries import (
    EndedQuery,
    HistoriesQuery,
    HistoryQuery,
    LimitUsageQuery,
    NotDueQuery,
    OwnerQuery,
    PrunedQuery,
    Revision,
    RunList,
    RunQuery,
    Tally,
    TallyQuery,
)
from stepflow.drivers.port.schedules import ScheduleQuery
from stepflow.drivers.port.store import Answer, Query
from stepflow.model.lifecycle import status_of
from stepflow.model.state import State


def answer(tables: MemoryTables, query: Query) -> Answer:
    """The rows that match the query."""
    match query:
        case HistoryQuery():
            return _history(tables, query)
        case HistoriesQuery():
            known = [tables.runs.get(run_id) for run_id in query.ids]
            return [() if run is None or query.limit < 1 else tuple(run.states[-query.limit :]) for run in known]
        case RunQuery():
            return _runs(tables, query)
        case TallyQuery():
            return _tally(tables, query)
        case NotDueQuery():
            runs = tables.open_runs()
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
            return [() if run is None else run.rows(query) for run in entries]
        case PrunedQuery():
            return [tables.pruned[run_id] for run_id in query.ids if run_id in tables.pruned]
        case ScheduleQuery():
            return tables.schedules.read(query)
        case PausedFlowsQuery():
            return [PausedFlowRow(flow, since) for flow, since in sorted(tables.paused_flows.items())]
        case OwnerQuery():
            return [Peer(owner) for _id, owner in sorted(tables.owners.items())]


def _history(tables: MemoryTables, query: HistoryQuery) -> list[Revision]:
    run = None if query.id is None else tables.runs.get(query.id)
    log = tables.log if query.id is None else (run.states if run else [])
    end = len(log) if query.until_rev is None else _after(log, query.until_rev)
    window = range(_after(log, query.since_rev), end)
    order = reversed(window) if query.last else window
    states = islice((log[i] for i in order if _matches(tables, log[i], query)), max(query.limit, 0))
    if query.exchange:
        found = _bounded(
            [Revision(state, _exchange(tables.runs[state.id], state.rev)) for state in states], query.max_size
        )
    else:
        found = [Revision(state, "") for state in states]
    return found[::-1] if query.last else found


def _exchange(run: MemoryRun, rev: int) -> str:
    """The exchange text as of a revision of the run."""
    return run.exchanges[_after(run.states, rev) - 1]


def _bounded(found: list[Revision], max_size: int) -> list[Revision]:
    """The first revisions whose exchanges, each counted once, have at most this size together; one at least."""
    size, last = 0, ""
    for number, revision in enumerate(found):
        size, last = size + (0 if revision.exchange is last else len(revision.exchange)), revision.exchange
        if number and size > max_size:
            return found[:number]
    return found


def _after(log: list[State], rev: int) -> int:
    return bisect_right(log, rev, key=attrgetter("rev"))


def _matches(tables: MemoryTables, state: State, query: HistoryQuery) -> bool:
    if query.id is None and not tables.shows(state):
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
    return row.flow in query.flows and not row.owner and not (row.blocked or row.paused) and row.due > query.now


def _blocked(run: MemoryRun, query: NotDueQuery) -> bool:
    row = run.row
    return row is not None and row.flow in query.flows and not (row.owner or row.paused) and row.blocked != ""


def _is_over(run: MemoryRun | None) -> bool:
    return run is None or run.state.transition.status != ""


def _status(tables: MemoryTables, run: MemoryRun, now: int) -> str:
    paused = run.created.flow in tables.paused_flows
    return status_of(run.state, run.row, now, flow_paused=paused).value


def _fits(tables: MemoryTables, run: MemoryRun, query: RunQuery) -> bool:
    state = run.state
    return (
        (query.flow is None or run.created.flow == query.flow)
        and not ((query.open or query.awaits) and state.transition.status)
        and (not query.awaits or state.transition.events != ())
        and all(state.labels.get(name) == value for name, value in (query.labels or {}).items())
        and (query.status is None or _status(tables, run, query.now) in query.status)
        and query.has_ranges(state, run.created.created_at)
    )


def _fitting(tables: MemoryTables, runs: Iterable[MemoryRun], query: RunQuery) -> list[MemoryRun]:
    return [run for run in runs if _fits(tables, run, query)]


def _is_asleep(run: MemoryRun, now: int) -> bool:
    row = run.row
    return row is not None and not row.owner and not (row.blocked or row.paused) and row.due > now


def _runs(tables: MemoryTables, query: RunQuery) -> RunList:
    if query.ids is not None:
        return RunList(run.record(full=False) for run in map(tables.runs.get, query.ids) if run is not None)
    runs = [run for run in tables.runs.values() if query.order != "due" or _is_asleep(run, query.now)]
    if query.scan is None:  # only runs that fit are put in order: their records and keys cost more than the look
        runs = _fitting(tables, runs, query)
    keyed = sorted(
        ((query.key_of(run.record(full=False)), run) for run in runs), key=itemgetter(0), reverse=not query.ascending
    )
    following = [(key, run) for key, run in keyed if query.is_next(key)]
    looked_at = following if query.scan is None else following[: query.scan + 1]
    runs = [run for _key, run in looked_at]
    fitting = runs if query.scan is None else _fitting(tables, runs, query)
    found = RunList([run.record(full=False) for run in fitting[: max(query.limit, 0)]])
    if len(found) < query.limit and len(looked_at) < len(following):
        found.end = looked_at[-1][0]
    return found


def _tally(tables: MemoryTables, query: TallyQuery) -> list[Tally]:
    counts = Counter((run.created.flow, _status(tables, run, query.now)) for run in tables.runs.values())
    return [Tally(flow, status, number) for (flow, status), number in sorted(counts.items())]
