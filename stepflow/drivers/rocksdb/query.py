"""query: answers queries for runs: a consistent scan of the indexes, then the records, in chunks under the lock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from threading import Condition

from stepflow.drivers.port.commit import Created, Record
from stepflow.drivers.port.delays import DataQuery, DelayQuery
from stepflow.drivers.port.deltas import parts_of
from stepflow.drivers.port.journal import JournalQuery
from stepflow.drivers.port.pauses import PausedFlowsQuery
from stepflow.drivers.port.queries import (
    EndedQuery,
    HistoriesQuery,
    HistoryQuery,
    LimitUsageQuery,
    NotDueQuery,
    PrunedQuery,
    RunQuery,
    Tally,
    TallyQuery,
)
from stepflow.drivers.port.schedules import ScheduleQuery
from stepflow.drivers.port.store import Answer, TableQuery
from stepflow.drivers.port.stored import without_exchange
from stepflow.drivers.rocksdb import delays as attached
from stepflow.drivers.rocksdb import journal, pauses, schedules
from stepflow.drivers.rocksdb import limits as control
from stepflow.drivers.rocksdb import queue as rows
from stepflow.drivers.rocksdb.index import LIVE, age_entry, status_at
from stepflow.drivers.rocksdb.keys import after, read_text, text
from stepflow.drivers.rocksdb.lists import CHUNK, RocksdbLists
from stepflow.drivers.rocksdb.overlay import Head, Overlay
from stepflow.drivers.rocksdb.prune import pruned
from stepflow.drivers.rocksdb.records import UNREADABLE, RunRecord
from stepflow.drivers.rocksdb.revision_index import Place
from stepflow.drivers.rocksdb.revisions import RocksdbRevisionSearch
from stepflow.drivers.rocksdb.tables import RocksdbTables
from stepflow.errors import CodecError, Corrupt
from stepflow.model.lifecycle import WITHOUT_ROW, Status
from stepflow.model.state import new_tuple

UNREADABLE_RUN = Corrupt, CodecError, *UNREADABLE


class RocksdbReader:
    """Reads of one namespace. Keys that must be consistent with each other are read while `lock` is held."""

    def __init__(self, tables: RocksdbTables, lock: Condition) -> None:
        self._tables, self._lock = tables, lock

    def answer(self, query: TableQuery) -> Answer:
        """The rows that the query asks for."""
        match query:
            case HistoryQuery():
                return RocksdbRevisionSearch(self._tables).answer(query, self._lock)
            case HistoriesQuery():
                return RocksdbRevisionSearch(self._tables).newest(query, self._lock)
            case RunQuery():
                return RocksdbLists(self._tables, self._lock).runs(query)
            case TallyQuery():
                return self._tally(query)
            case NotDueQuery():
                with self._lock:
                    waiting = sum(self._tables.counts["waiting", flow] for flow in query.flows)
                    later = self._tables.partitions.later(query.flows, query.now)
                    blocked = self._tables.partitions.blocked(query.flows)
                return [waiting + sum(1 for rows in later for _ in rows), sum(1 for rows in blocked for _ in rows)]
            case EndedQuery():
                return self._ended(query)
            case DelayQuery():
                with self._lock:  # otherwise a delay that fires meanwhile would be counted twice
                    return attached.read_delays(self._tables, query)
            case DataQuery():
                return attached.read_data(self._tables, query)
            case JournalQuery():
                with self._lock:
                    return [journal.read(self._tables, run_id, query) for run_id in query.ids]
            case PrunedQuery():
                found = [pruned(self._tables, self._tables.keys, run_id) for run_id in query.ids]
                return [gone for gone in found if gone is not None]
            case ScheduleQuery():
                with self._lock:
                    return schedules.read(self._tables, query)
            case PausedFlowsQuery():
                with self._lock:
                    return pauses.read(self._tables)
            case LimitUsageQuery():
                with self._lock:
                    return [control.limit_usage(self._tables, [query.limits], query.now)]

    def load(self, ids: Sequence[str]) -> list[Record | None]:
        """The full records in the order of `ids`."""
        with self._lock:
            tables = self._tables
            tables.prefetch(ids)
            runs = [tables.run(run_id) for run_id in ids]
            search = RocksdbRevisionSearch(tables)
            stored = search.stored((run.code, run.exchange_rev) for run in runs if run is not None)
            texts = search.whole(stored)
            found = [
                self._delay(key) if run is None else self._record(run, stored, texts)
                for key, run in zip(ids, runs, strict=True)
            ]
            tables.trim()
            return found

    def load_each(self, ids: Sequence[str]) -> list[Record | None]:
        """The same, but None for those that cannot be read: the load of such a one alone tells why."""
        try:
            return self.load(ids)
        except UNREADABLE_RUN:
            return [self._load_alone(run_id) for run_id in ids]

    def _load_alone(self, run_id: str) -> Record | None:
        try:
            return self.load([run_id])[0]
        except UNREADABLE_RUN:
            return None

    def _ended(self, query: EndedQuery) -> list[str]:
        tables, ended = self._tables, []
        for first in range(0, len(query.ids), CHUNK):
            chunk = query.ids[first : first + CHUNK]
            with self._lock:
                tables.prefetch(chunk)
                runs = [(run_id, tables.run(run_id)) for run_id in chunk]
                ended += [run_id for run_id, run in runs if run is None or run.transition.status]
                tables.trim()
        return ended

    def _delay(self, key: str) -> Record | None:
        """The record of a delay that has not fired; its creation is that of its run."""
        tables = self._tables
        kept = attached.waiting(tables, tables.keys, key)
        if kept is None:
            return None
        delay, state, run = kept.delay, kept.delay.state, tables.run(kept.delay.state.id)
        created = Created(state.transition.to, "", delay.due) if run is None else run.created
        place = (text(state.id), kept.exchange_rev)
        exchange = RocksdbRevisionSearch(tables).exchanges([place]).get(place, "") if kept.exchange_rev else "null"
        return Record(state, created, exchange, tables.row(key), (), delay, journal.exists(tables, key))

    def _record(self, run: RunRecord, stored: Mapping[Place, str], texts: Mapping[Place, str]) -> Record:
        tables, place = self._tables, (run.code, run.exchange_rev)
        exchange, parts = texts.get(place, ""), parts_of(run.exchange_rev, stored.get(place, ""))
        events = tuple(rows.pending(Overlay(tables, Head()), tables.keys, run)) if run.pending else ()
        state, row = run.state(), tables.row(run.id)
        state = state if exchange else without_exchange(state)
        return new_tuple(Record, (state, run.created, exchange, row, events, None, run.journaled, parts))

    def _tally(self, query: TallyQuery) -> list[Tally]:
        tables = self._tables
        with self._lock:
            kept, paused = [item for item in tables.counts.items() if item[1]], pauses.names(tables)
            prefixes = {flow: tables.keys.group(LIVE, flow) for (group, flow), _count in kept if group == LIVE}
            live = {flow: tables.disk.scan(prefix, after(prefix)) for flow, prefix in prefixes.items()}
            changed = self._unreadable_rows()
        counts = Counter[tuple[str, str]]()
        for (group, flow), count in kept:
            if group != LIVE:
                counts[flow, Status.PAUSED.value if flow in paused and group in WITHOUT_ROW else group] += count
        for flow, found in live.items():
            for mark, count in Counter(mark for _key, mark in found).items():
                counts[flow, status_at(mark, query.now, flow_paused=flow in paused)] += count
        for flow, marked, mark in changed:
            counts[flow, status_at(marked, query.now, flow_paused=flow in paused)] -= 1
            counts[flow, status_at(mark, query.now, flow_paused=flow in paused)] += 1
        return [Tally(flow, status, count) for (flow, status), count in sorted(counts.items()) if count]

    def _unreadable_rows(self) -> list[tuple[str, bytes, bytes]]:
        """Flow, mark in the index, and mark as they are read, of the runs whose row of the queue was found damaged."""
        tables, found = self._tables, list[tuple[str, bytes, bytes]]()
        for code in tables.partitions.unreadable:
            key = read_text(code, 0)[0]
            if (run := tables.run(key)) is not None:
                entry, mark = age_entry(tables.keys, run, tables.row(key))
                marked = tables.disk.get(entry)
                found += [] if marked is None else [(run.created.flow, marked, mark)]
        return found
