"""query: answers queries for runs: a consistent scan of the indexes, then the records, in chunks under the lock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from heapq import merge
from itertools import islice
from threading import Condition

from stepflow.drivers.port.commit import Created, Record
from stepflow.drivers.port.delays import DataQuery, DelayQuery
from stepflow.drivers.port.deltas import parts_of
from stepflow.drivers.port.journal import JournalQuery
from stepflow.drivers.port.queries import (
    EndedQuery,
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
from stepflow.drivers.rocksdb import delays as attached
from stepflow.drivers.rocksdb import journal, schedules
from stepflow.drivers.rocksdb import limits as control
from stepflow.drivers.rocksdb import queue as rows
from stepflow.drivers.rocksdb.index import LETTERS, LIVE, status_at
from stepflow.drivers.rocksdb.index_scan import common
from stepflow.drivers.rocksdb.keys import after, number, read_text, text
from stepflow.drivers.rocksdb.overlay import Head, Overlay
from stepflow.drivers.rocksdb.prune import pruned
from stepflow.drivers.rocksdb.records import RunRecord
from stepflow.drivers.rocksdb.revision_index import Place
from stepflow.drivers.rocksdb.revisions import RocksdbRevisionSearch
from stepflow.drivers.rocksdb.tables import RocksdbTables
from stepflow.errors import NotFound
from stepflow.model.lifecycle import WITH_ROW, WITHOUT_ROW, Status, status_of
from stepflow.model.state import new_tuple

CHUNK = 64  # records read at once, so that commits do not wait for long
NUMBER = 8
FIRST = b"\xff" * 9  # sorts before everything in a backward scan
GROUPS = {
    status.value: (*((status.value,) if status in WITHOUT_ROW else ()), *((LIVE,) if status in WITH_ROW else ()))
    for status in WITHOUT_ROW | WITH_ROW
}
"""Status -> the groups of its runs; any other status is a group of its own."""

Candidate = tuple[bytes, str]
"""Age (created at, id) as in keys, and the status."""


class RocksdbReader:
    """Reads of one namespace. Keys that must be consistent with each other are read while `lock` is held."""

    def __init__(self, tables: RocksdbTables, lock: Condition) -> None:
        self._tables, self._lock = tables, lock

    def answer(self, query: TableQuery) -> Answer:
        """The rows that the query asks for."""
        match query:
            case HistoryQuery():
                return RocksdbRevisionSearch(self._tables).answer(query, self._lock)
            case RunQuery():
                return self._runs(query)
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
                    return [journal.read(self._tables, run_id) for run_id in query.ids]
            case PrunedQuery():
                found = [pruned(self._tables, self._tables.keys, run_id) for run_id in query.ids]
                return [gone for gone in found if gone is not None]
            case ScheduleQuery():
                with self._lock:
                    return schedules.read(self._tables, query)
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
        exchange = RocksdbRevisionSearch(tables).exchanges([place])[place] if kept.exchange_rev else "null"
        return Record(state, created, exchange, tables.row(key), (), delay, journal.exists(tables, key))

    def _record(self, run: RunRecord, stored: Mapping[Place, str], texts: Mapping[Place, str]) -> Record:
        tables, place = self._tables, (run.code, run.exchange_rev)
        exchange, parts = texts[place], parts_of(run.exchange_rev, stored[place])
        events = tuple(rows.pending(Overlay(tables, Head()), tables.keys, run)) if run.pending else ()
        state, row = run.state(), tables.row(run.id)
        return new_tuple(Record, (state, run.created, exchange, row, events, None, run.journaled, parts))

    def _runs(self, query: RunQuery) -> list[Record]:
        with self._lock:
            start = FIRST if query.after is None else self._age(query.after)
            walk = self._labelled(query.labels, start) if query.labels else self._aged(query, start)
        if query.after is not None:
            walk = (age for age in walk if age < start)
        found: list[Record] = []
        while len(found) < query.limit and (chunk := list(islice(walk, min(CHUNK, query.limit)))):
            found += self._fitting(query, chunk)
        return found[: max(query.limit, 0)]

    def _age(self, run_id: str) -> bytes:
        run = self._tables.run(run_id)
        if run is None:
            raise NotFound(f"after={run_id!r}: there is no such run any more; ask for the first page again")
        return number(run.created.created_at) + run.code

    def _labelled(self, labels: Mapping[str, str], start: bytes) -> Iterator[bytes]:
        tables = self._tables
        prefixes = [tables.keys.labels + text(name) + text(value) for name, value in labels.items()]
        return common([tables.disk.cursor(prefix, back=True) for prefix in prefixes], start)

    def _aged(self, query: RunQuery, start: bytes) -> Iterator[bytes]:
        """The ages of runs of the wanted status and flow, the newest first."""
        tables, status = self._tables, query.status
        groups: Collection[str] | None = None if status is None else GROUPS.get(status, (status,))
        if query.open:
            opened = {LIVE, *(status.value for status in WITHOUT_ROW)}
            groups = opened if groups is None else opened.intersection(groups)
        if query.awaits:
            groups = GROUPS[Status.WAITING] if groups is None else set(groups) & set(GROUPS[Status.WAITING])
        walks = []
        for (group, flow), count in tables.counts.items():
            if count and (groups is None or group in groups) and query.flow in (None, flow):
                prefix = tables.keys.group(group, flow)
                found = tables.disk.scan_back(prefix + start + b"\0", prefix)
                walks.append(_ages(found, len(prefix), query if group == LIVE else None))
        return merge(*walks, reverse=True)

    def _fitting(self, query: RunQuery, ages: Sequence[bytes]) -> list[Record]:
        """The records of those ages that match the query now."""
        with self._lock:
            tables = self._tables
            ids = [read_text(age, NUMBER)[0] for age in ages]
            tables.prefetch(ids)
            runs = [run for run in map(tables.run, ids) if run is not None]
            found = [Record(run.state(), run.created, "", tables.row(run.id)) for run in runs]
            tables.trim()
        return [record for record in found if _fits(record, query)]

    def _tally(self, query: TallyQuery) -> list[Tally]:
        tables = self._tables
        with self._lock:
            kept = [item for item in tables.counts.items() if item[1]]
            prefixes = {flow: tables.keys.group(LIVE, flow) for (group, flow), _count in kept if group == LIVE}
            live = {flow: tables.disk.scan(prefix, after(prefix)) for flow, prefix in prefixes.items()}
        counts = Counter({(flow, group): count for (group, flow), count in kept if group != LIVE})
        for flow, found in live.items():
            for mark, count in Counter(mark for _key, mark in found).items():
                counts[flow, status_at(mark, query.now)] += count
        return [Tally(flow, status, count) for (flow, status), count in sorted(counts.items())]


def _ages(found: Iterator[tuple[bytes, bytes]], start: int, query: RunQuery | None) -> Iterator[bytes]:
    """The ages in these keys from `start` on; of live runs only those that may match the query."""
    for key, mark in found:
        if query is None or _may_fit(mark, query):
            yield key[start:]


def _may_fit(mark: bytes, query: RunQuery) -> bool:
    """Whether a live run with this mark may match the query."""
    if query.awaits and mark[:1] == LETTERS[Status.SLEEPING]:
        return False
    return query.status is None or status_at(mark, query.now) == query.status


def _fits(record: Record, query: RunQuery) -> bool:
    labels = record.state.labels
    return (
        (query.flow is None or record.created.flow == query.flow)
        and not (query.open and record.state.transition.status)
        and (not query.awaits or record.state.transition.events != ())
        and all(labels.get(name) == value for name, value in (query.labels or {}).items())
        and (query.status is None or status_of(record.state, record.row, query.now).value == query.status)
    )
