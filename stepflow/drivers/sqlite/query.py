"""query: answers the queries of the port from the tables, on a reading connection."""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from operator import attrgetter
from typing import Any

from attrs import define

from stepflow.drivers.port.commit import Created, Event, Record
from stepflow.drivers.port.delays import DataQuery, DelayQuery
from stepflow.drivers.port.deltas import (
    MARK,
    SMALL,
    UNKNOWN,
    ExchangeParts,
    is_delta,
    length_of,
    needed,
    parts_of,
    restore,
)
from stepflow.drivers.port.journal import JournalQuery
from stepflow.drivers.port.pauses import PausedFlowsQuery
from stepflow.drivers.port.pruning import PrunedId
from stepflow.drivers.port.queries import (
    EndedQuery,
    HistoriesQuery,
    HistoryQuery,
    LimitUsageQuery,
    NotDueQuery,
    PrunedQuery,
    Revision,
    RunList,
    RunQuery,
    Tally,
    TallyQuery,
)
from stepflow.drivers.port.schedules import ScheduleQuery
from stepflow.drivers.port.store import Answer, TableQuery
from stepflow.drivers.port.stored import read_state, without_exchange
from stepflow.drivers.port.tallied import Tallied
from stepflow.drivers.sqlite.bulk import many_rows
from stepflow.drivers.sqlite.delays import DELAY, SqliteDelaysAndData, read_delay
from stepflow.drivers.sqlite.journal import SqliteJournal
from stepflow.drivers.sqlite.limits import SqliteLimits
from stepflow.drivers.sqlite.lists import RUN, SqliteLists
from stepflow.drivers.sqlite.meta import head
from stepflow.drivers.sqlite.pauses import SqlitePausedFlows
from stepflow.drivers.sqlite.revisions import SqliteRevisionSearch, is_plain
from stepflow.drivers.sqlite.rows import EVENT, QUEUE, STATE, read_event, read_queue
from stepflow.drivers.sqlite.schedules import SqliteSchedules
from stepflow.drivers.sqlite.tally import SqliteTally
from stepflow.model.lifecycle import QueueRow
from stepflow.model.state import State, new_tuple

RUNS = (
    f"SELECT {RUN}, {QUEUE}{{more}} FROM stepflow_states AS s"
    " LEFT JOIN stepflow_queue AS q ON q.shard = s.shard AND q.id = s.id"
)
LOAD = (
    RUNS.format(
        more=", s.exchange_rev, (SELECT exchange FROM stepflow_history AS h WHERE h.rev = s.exchange_rev AND h.id = s.id)"
    )
    + " WHERE s.shard = ?1 AND s.rev > 0 AND s.id IN (VALUES {rows})"
)
PRUNED_IDS = (
    "SELECT s.id, s.input_hash, s.created_at FROM stepflow_states AS s WHERE s.shard = ?1 AND s.rev < 0"
    " AND s.id IN (VALUES {rows})"
)
TEXTS = "SELECT rev, exchange FROM stepflow_history WHERE rev IN (VALUES {rows})"
# With the run: where the newest rows of the history are lost, their revisions are given to others.
OWN_TEXTS = TEXTS.replace("rev, exchange", "id, rev, exchange")
ANY_EVENT = "SELECT 1 FROM stepflow_events INDEXED BY stepflow_events_pending WHERE shard = ? AND taken = 0 LIMIT 1"
EVENTS = (
    f"SELECT {EVENT} FROM stepflow_events WHERE shard = ?1 AND taken = 0 AND run_id IN (VALUES {{rows}}) ORDER BY seq"
)

_ROWS = (
    "(SELECT count(*) FROM stepflow_queue INDEXED BY stepflow_queue_{index}"
    " WHERE shard = ?1 AND flow = ?2 AND owner = '' AND partition = {partition}{more})"
)
_LATER, _BLOCKED = " AND due > ?3 AND blocked = ''", " AND blocked <> ''"
# Nearly all of them are in the partition of sleeping rows, and are counted by its index alone.
NOT_DUE = (
    f"SELECT {_ROWS.format(index='next', partition=1, more=_BLOCKED)}"
    f" + {_ROWS.format(index='suspect', partition=2, more=_BLOCKED)},"
    f" {_ROWS.format(index='later', partition=0, more=' AND due > ?3')}"
    f" + {_ROWS.format(index='next', partition=1, more=_LATER)}"
    f" + {_ROWS.format(index='suspect', partition=2, more=_LATER)}"
    " + (SELECT count(*) FROM stepflow_states AS s INDEXED BY stepflow_states_waiting"
    " WHERE s.shard = ?1 AND s.flow = ?2 AND s.event <> ''"
    " AND NOT EXISTS (SELECT 1 FROM stepflow_queue AS q WHERE q.shard = s.shard AND q.id = s.id))"
)
ENDED = (
    "SELECT column1, ?1 FROM (VALUES {rows}) WHERE NOT EXISTS"
    " (SELECT 1 FROM stepflow_states WHERE shard = ?1 AND id = column1 AND status = '')"
)
# A run's history is a chain from its State backwards; ?2 is the revision after which to stop, ?5 the last one that is wanted. The
# chain begins behind the revision after ?5 if that is one of the run, as it is for the next page; `wanted` counts up to the limit ?4.
CHAIN = (
    "WITH RECURSIVE chain(rev, wanted) AS (SELECT rev, rev <= ?5 FROM (SELECT ifnull((SELECT h.prev FROM stepflow_history AS h"
    " WHERE h.rev = ?5 + 1 AND h.shard = ?1 AND h.id = ?3),"
    " (SELECT s.rev FROM stepflow_states AS s WHERE s.shard = ?1 AND s.id = ?3)) AS rev) WHERE rev > ?2"
    " UNION ALL SELECT h.prev, wanted + (h.prev <= ?5) FROM chain CROSS JOIN stepflow_history AS h ON h.rev = chain.rev"
    " WHERE h.prev > ?2{limit})"
)
HISTORIES = (
    "WITH RECURSIVE chain(rev, number) AS (SELECT rev, 1 FROM stepflow_states"
    " WHERE shard = ?1 AND rev > 0 AND ?2 > 0 AND id IN (VALUES {rows})"
    " UNION ALL SELECT h.prev, number + 1 FROM chain CROSS JOIN stepflow_history AS h ON h.rev = chain.rev"
    " WHERE h.prev > 0 AND number < ?2)"
    f" SELECT {STATE} FROM chain CROSS JOIN stepflow_history AS s ON s.rev = chain.rev"
)
LAST_REV = 2**63 - 2
REVISION = f"{STATE}, s.prev, s.exchange"
REVISIONS = "SELECT {columns} FROM stepflow_history AS s WHERE s.shard = ?1 AND s.rev IN (VALUES {{rows}})"
LOAD_DELAY = (
    f"SELECT {DELAY}, r.flow, ifnull(r.input_hash, ''), ifnull(r.created_at, s.due), {QUEUE},"
    " ifnull((SELECT exchange FROM stepflow_history AS h WHERE h.rev = s.exchange_rev), 'null'), s.exchange_rev"
    " FROM (SELECT *, run_id AS id FROM stepflow_delays WHERE shard = ?1 AND key = ?2 AND fired = 0) AS s"
    " LEFT JOIN stepflow_states AS r ON r.shard = s.shard AND r.id = s.id"
    " LEFT JOIN stepflow_queue AS q ON q.shard = s.shard AND q.id = s.key"
)


@define
class SqliteReader:
    """The queries of one shard on one connection."""

    connection: sqlite3.Connection
    shard: str
    newer: Tallied | None = None  # what a writer should keep of the last answer, if anything

    def answer(self, query: TableQuery) -> Answer:
        """The rows that match the query."""
        match query:
            case HistoryQuery():
                return self._history(query) if is_plain(query) else self._search(query)
            case HistoriesQuery():
                return self._histories(query)
            case RunQuery():
                rows, end = SqliteLists(self.connection, self.shard).runs(query)
                return RunList((_record(row[:9], read_queue(row[9:22])) for row in rows), end)
            case TallyQuery():
                return self._tally(query)
            case NotDueQuery():
                counts = [self.connection.execute(NOT_DUE, (self.shard, flow, query.now)) for flow in query.flows]
                blocked, asleep = zip(*[count.fetchone() for count in counts], strict=True) if counts else ((), ())
                return [sum(asleep), sum(blocked)]
            case EndedQuery():
                return [run_id for run_id, _shard in many_rows(self.connection, ENDED, query.ids, self.shard)]
            case DelayQuery():
                return SqliteDelaysAndData(self.connection, self.shard).read_delays(query)
            case DataQuery():
                return SqliteDelaysAndData(self.connection, self.shard).read_data(query)
            case JournalQuery():
                return SqliteJournal(self.connection, self.shard).read(query)
            case PrunedQuery():
                rows = many_rows(self.connection, PRUNED_IDS, list(query.ids), self.shard)
                return [PrunedId(*row) for row in rows]
            case ScheduleQuery():
                return SqliteSchedules(self.connection, self.shard).read(query)
            case PausedFlowsQuery():
                return SqlitePausedFlows(self.connection, self.shard).read()
            case LimitUsageQuery():
                return [SqliteLimits(self.connection, self.shard, query.now).limit_usage([query.limits])]

    def _tally(self, query: TallyQuery) -> list[Tally]:
        tally = SqliteTally(self.connection, self.shard)
        found = tally.read(query.now)
        self.newer = tally.newer
        return found

    def load(self, ids: Sequence[str]) -> list[Record | None]:
        """Full records in the order of `ids`."""
        events, journaled = self._events(ids), SqliteJournal(self.connection, self.shard).journaled(ids)
        found: dict[str, Record] = {}
        for row in many_rows(self.connection, LOAD, ids, self.shard):
            run_id = row[0]
            more = events.get(run_id, ()), run_id in journaled
            found[run_id] = self._full(row[:9], read_queue(row[9:22]), row[-2], row[-1], *more)
        return [found.get(run_id) or self._delay(run_id, run_id in journaled) for run_id in ids]

    def claimed(self, runs: Sequence[tuple[Sequence[Any], QueueRow]]) -> list[Record | None]:
        """The same of runs whose columns `RUN` and `exchange_rev` are known, and their queue rows.

        None if there is no State, or if the exchange is missing: the load of that run reports it.
        """
        found = [run for run, _row in runs if run[0] is not None]
        ids = [run[0] for run in found]
        events, journaled = self._events(ids), SqliteJournal(self.connection, self.shard).journaled(ids)
        rows = many_rows(self.connection, OWN_TEXTS, [run[-1] for run in found])
        texts = {(run_id, rev): text for run_id, rev, text in rows}
        return [
            self._full(run[:9], row, run[-1], texts[run[0], run[-1]], events.get(run[0], ()), run[0] in journaled)
            if (run[0], run[-1]) in texts
            else None
            for run, row in runs
        ]

    def _full(
        self,
        run: Sequence[Any],
        row: QueueRow | None,
        rev: int,
        stored: str | None,
        events: tuple[Event, ...],
        journaled: bool,
    ) -> Record:
        """A record with the exchange that revision `rev` holds in its stored form; None if it is missing."""
        if stored is None:
            record = _record(run, row, "", events, journaled)
            return record._replace(state=without_exchange(record.state))
        if not stored or (len(stored) < SMALL and stored[0] != MARK):
            return _record(run, row, stored, events, journaled)
        return _record(run, row, self._whole(rev, stored), events, journaled, parts_of(rev, stored))

    def _whole(self, rev: int, stored: str) -> str:
        """The exchange that a revision holds in this form."""
        return self._restored({rev: stored}, [rev])[rev] if is_delta(stored) else stored

    def _restored(self, stored: dict[int, str], wanted: Collection[int]) -> dict[int, str]:
        """The whole exchanges of the wanted revisions, of which the stored forms are known."""
        if more := needed(stored):
            stored.update(
                (rev, text) for rev, text in many_rows(self.connection, TEXTS, sorted(more)) if text is not None
            )
        return restore(stored, wanted)

    def _events(self, ids: Sequence[str]) -> Mapping[str, tuple[Event, ...]]:
        """The events of each run that were not received yet; most stores have none."""
        found: dict[str, tuple[Event, ...]] = {}
        if self.connection.execute(ANY_EVENT, (self.shard,)).fetchone() is not None:
            for row in many_rows(self.connection, EVENTS, ids, self.shard):
                found[row[0]] = (*found.get(row[0], ()), read_event(row))
        return found

    def _delay(self, key: str, journaled: bool) -> Record | None:
        """The record of a pending delay."""
        row = self.connection.execute(LOAD_DELAY, (self.shard, key)).fetchone() if "\0" in key else None
        if row is None:
            return None
        delay, (flow, digest, created_at) = read_delay(row[:10]), row[10:13]
        created = Created(delay.state.transition.to if flow is None else flow, digest, created_at)
        exchange = self._whole(row[-1], row[-2])
        return Record(delay.state, created, exchange, read_queue(row[13:26]), delay=delay, journaled=journaled)

    def _history(self, query: HistoryQuery) -> list[Revision]:
        order = "DESC" if query.last else "ASC"
        if query.id is None:
            source = "stepflow_history AS s WHERE s.shard = ?1 AND s.rev > ?2 AND s.rev <= ?5 AND ?3 IS NULL"
            text = f"SELECT {{}} FROM {source} ORDER BY s.rev {order} LIMIT ?4"
        else:
            chain = CHAIN.format(limit=" AND wanted < ?4" if query.last else "")
            source = "chain CROSS JOIN stepflow_history AS s ON s.rev = chain.rev WHERE s.rev <= ?5"
            text = f"{chain} SELECT {{}} FROM {source} ORDER BY s.rev {order} LIMIT ?4"
        until = LAST_REV if query.until_rev is None else query.until_rev
        values = (self.shard, query.since_rev, query.id, max(query.limit, 0), until)
        if query.exchange:
            revs = [rev for (rev,) in self.connection.execute(text.format("s.rev"), values)]
            return self._revisions(self._bounded(revs, query.max_size))
        rows = self.connection.execute(text.format(_columns(query)), values).fetchall()
        return self._revisions(sorted(rows, key=lambda row: int(row[1])))

    def _histories(self, query: HistoriesQuery) -> list[tuple[State, ...]]:
        found: dict[str, list[State]] = {run_id: [] for run_id in query.ids}
        for row in many_rows(self.connection, HISTORIES, list(found), self.shard, query.limit):
            found[row[0]].append(read_state(*row))
        return [tuple(sorted(found[run_id], key=attrgetter("rev"))) for run_id in query.ids]

    def _bounded(self, revs: Sequence[int], max_size: int) -> list[tuple[Any, ...]]:
        """The rows of the first revisions whose exchanges have at most this size together; one at least. Ascending."""
        rows: list[tuple[Any, ...]] = []
        size, text = 0, REVISIONS.format(columns=REVISION).format(rows="(?2)")
        for rev in revs:
            row = self.connection.execute(text, (self.shard, rev)).fetchone()
            if row is None:  # it was pruned meanwhile
                continue
            size += length_of(row[7]) if row[7] is not None else 0
            if rows and size > max_size:
                break
            rows.append(row)
        return sorted(rows, key=lambda row: int(row[1]))

    def _search(self, query: HistoryQuery) -> list[Revision]:
        revs = SqliteRevisionSearch(self.connection, self.shard, query, head(self.connection)).revs()
        if query.exchange:
            return self._revisions(self._bounded(revs[::-1] if query.last else revs, query.max_size))
        rows = many_rows(self.connection, REVISIONS.format(columns=_columns(query)), revs, self.shard)
        return self._revisions(sorted(rows, key=lambda row: int(row[1])))

    def _revisions(self, rows: list[tuple[Any, ...]]) -> list[Revision]:
        """Fill in the exchanges that did not change, from the run's revision before."""
        holders: dict[int, int] = {}  # the revision that holds the exchange of each
        stored: dict[int, str] = {}
        for row in rows:
            rev, prev, exchange = row[1], row[6], row[7]
            if exchange is not None:
                holders[rev], stored[rev] = rev, exchange
            elif prev in holders:
                holders[rev] = holders[prev]
            else:
                holders[rev], text = self._exchange(row[0], prev)
                stored[holders[rev]] = text
        texts = self._restored(stored, set(holders.values()))
        return [Revision(read_state(*row[:6]), texts[holders[row[1]]]) for row in rows]

    def _exchange(self, run_id: str, rev: int) -> tuple[int, str]:
        """Which revision holds the exchange as of a revision, and its stored form: usually the current one of the run."""
        query = "SELECT exchange_rev FROM stepflow_states WHERE shard = ? AND id = ?"
        newest = self.connection.execute(query, (self.shard, run_id)).fetchone()[0]
        exchange, holder = None, 0
        try:
            prev = min(rev, newest)
            while exchange is None:
                holder, query = prev, "SELECT exchange, prev FROM stepflow_history WHERE rev = ?"
                exchange, prev = self.connection.execute(query, (holder,)).fetchone()
        except TypeError:  # a damaged row leads to no revision
            return holder, ""
        return holder, str(exchange)


def _columns(query: HistoryQuery) -> str:
    """The columns of a revision; instead of an exchange that is not asked for an empty text."""
    return REVISION if query.exchange else REVISION.replace("s.exchange", "''")


def _record(
    run: Sequence[Any],
    row: QueueRow | None,
    exchange: str = "",
    events: tuple[Event, ...] = (),
    journaled: bool = False,
    parts: ExchangeParts = UNKNOWN,
) -> Record:
    state, created = read_state(*run[:6]), new_tuple(Created, run[6:])
    return new_tuple(Record, (state, created, exchange, row, events, None, journaled, parts))
