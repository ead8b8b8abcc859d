"""lists: lists of runs: a consistent scan of an index in the wanted order, then the records, in chunks under the lock."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from heapq import merge
from itertools import chain, islice, takewhile
from threading import Condition

from attrs import evolve

from stepflow.drivers.port.commit import Record
from stepflow.drivers.port.queries import ListKey, RunList, RunQuery
from stepflow.drivers.rocksdb import pauses
from stepflow.drivers.rocksdb.index import LETTERS, LIVE, status_at
from stepflow.drivers.rocksdb.index_scan import common
from stepflow.drivers.rocksdb.keys import NUMBER, after, number, read_number, read_text, text
from stepflow.drivers.rocksdb.tables import RocksdbTables
from stepflow.model.lifecycle import WITH_ROW, WITHOUT_ROW, QueueRow, Status, status_of

FEW = 1_000  # runs of the wanted statuses that are all looked at, rather than those with a label, or other open ones
CHUNK = 64  # records read at once, so that commits do not wait for long
GROUPS = {
    status.value: (*((status.value,) if status in WITHOUT_ROW else ()), *((LIVE,) if status in WITH_ROW else ()))
    for status in WITHOUT_ROW | WITH_ROW
}
"""Status -> the groups of its runs; any other status is a group of its own."""

Place = tuple[bytes, bool]
"""The key of a run in the list (a number, its id) as in keys, and whether the run may match the query."""


class RocksdbLists:
    """The lists of one namespace. Keys that must be consistent with each other are read while `lock` is held."""

    def __init__(self, tables: RocksdbTables, lock: Condition) -> None:
        self._tables, self._lock = tables, lock

    def runs(self, query: RunQuery) -> RunList:
        """The runs that the query asks for, in its order."""
        if query.ids is not None:
            return RunList(self._records(query.ids))
        if not query.groups or query.limit <= 0:
            return RunList()
        with self._lock:
            paused = frozenset(pauses.names(self._tables))
            rare = None if paused else self._rare(query)
            walk = self._walk(query, paused)
        if rare is not None:
            found = sorted(self._fitting(query, rare, paused), key=query.key_of, reverse=not query.ascending)
            return RunList([record for record in found if query.is_next(query.key_of(record))][: query.limit])
        looked_at, place, end = 0, b"", None
        found = list[Record]()
        while len(found) < query.limit and end is None:
            chunk: list[str] = []
            for place, may_match in walk:
                looked_at += 1
                if may_match:
                    chunk.append(read_text(place, NUMBER)[0])
                if query.scan is not None and looked_at > query.scan:
                    end = _key(place)
                    break
                if len(chunk) >= min(CHUNK, query.limit):
                    break
            else:
                return RunList((found + self._fitting(query, chunk, paused))[: query.limit])
            found += self._fitting(query, chunk, paused)
        return RunList(found[: query.limit], None if len(found) >= query.limit else end)

    def _walk(self, query: RunQuery, paused: Collection[str]) -> Iterator[Place]:
        """The places of the runs that come next."""
        if query.order == "id":
            return self._by_id(query)
        if query.order == "due":
            return self._asleep(query)
        groups = self._groups(query, paused)
        if query.labels and sum(self._tables.counts[group] for group in groups) > FEW:
            return self._labelled(query, query.labels)
        return self._aged(query, paused, groups)

    def _rare(self, query: RunQuery) -> list[str] | None:
        """The keys of all rows that may have the wanted statuses, or labels in a list by id, if these are few."""
        if query.order == "id" and query.labels:
            labelled = self._labelled(evolve(query, after=None), query.labels)
            found = dict.fromkeys(read_text(place, NUMBER)[0] for place, _may_match in islice(labelled, FEW + 1))
            if len(found) <= FEW:
                return list(found)
        if not query.live or query.groups != ("",) or query.order == "due":
            return None
        parts = [self._tables.partitions.rare(Status(name), query.now) for name in query.live]
        if None in parts:
            return None
        rows = chain.from_iterable(walk for part in parts if part is not None for walk in part)
        found = dict.fromkeys(islice(rows, FEW + 1))
        return list(found) if len(found) <= FEW else None

    def _by_id(self, query: RunQuery) -> Iterator[Place]:
        begin = query.prefix.encode("utf-8", "surrogatepass").replace(b"\0", b"\0\xff")
        low = self._tables.keys.runs + begin
        high, start = after(low), len(self._tables.keys.runs)
        if query.after is not None:
            last = self._tables.keys.runs + text(query.after[1])
            low, high = (max(low, last + b"\0"), high) if query.ascending else (low, min(high, last))
        disk = self._tables.disk
        found = disk.scan(low, high) if query.ascending else disk.scan_back(high, low)
        return ((number(0) + key[start:], True) for key, _record in found)

    def _asleep(self, query: RunQuery) -> Iterator[Place]:
        prefixes = self._tables.partitions.unblocked()
        return merge(*[self._range(p, query, query.now + 1, None) for p in prefixes], reverse=not query.ascending)

    def _labelled(self, query: RunQuery, labels: Mapping[str, str]) -> Iterator[Place]:
        tables, up = self._tables, query.ascending
        prefixes = [tables.keys.labels + text(name) + text(value) for name, value in labels.items()]
        first, bound = _bounds(query, *query.bounds)
        cursors = [tables.disk.cursor(prefix, back=not up) for prefix in prefixes]
        ages = common(cursors, first if up else bound)
        inside = takewhile(lambda age: age < bound if up else age >= first, ages)
        return ((age, True) for age in inside if age != (first if up else bound))

    def _groups(self, query: RunQuery, paused: Collection[str]) -> list[tuple[str, str]]:
        """The groups and flows that may have runs of the wanted statuses and flow."""
        groups: Collection[str] | None = None
        if query.status is not None:
            groups = {group for status in query.status for group in GROUPS.get(status, (status,))}
        if query.open:
            opened = {LIVE, *(status.value for status in WITHOUT_ROW)}
            groups = opened if groups is None else opened.intersection(groups)
        if query.awaits:
            groups = GROUPS[Status.WAITING] if groups is None else set(groups) & set(GROUPS[Status.WAITING])
        wants_paused = query.status is not None and Status.PAUSED.value in query.status
        return [
            (group, flow)
            for (group, flow), count in self._tables.counts.items()
            if count
            and query.flow in (None, flow)
            and (groups is None or group in groups or (group in WITHOUT_ROW and flow in paused and wants_paused))
        ]

    def _aged(self, query: RunQuery, paused: Collection[str], groups: Collection[tuple[str, str]]) -> Iterator[Place]:
        """The places of the runs of these groups."""
        walks = [
            self._range(
                self._tables.keys.group(group, flow), query, *query.bounds, live=group == LIVE and flow not in paused
            )
            for group, flow in groups
        ]
        return merge(*walks, reverse=not query.ascending)

    def _range(
        self, prefix: bytes, query: RunQuery, since: int | None, until: int | None, live: bool = False
    ) -> Iterator[Place]:
        """The places that the keys with this prefix have, of those that come next, from number `since` to below `until`."""
        (first, bound), at = _bounds(query, since, until), len(prefix)
        low, high, disk = prefix + first, prefix + bound, self._tables.disk
        found = disk.scan(low, high) if query.ascending else disk.scan_back(high, low)
        damaged = self._tables.partitions.unreadable
        return ((key[at:], not live or _may_match(mark, query) or key[at + NUMBER :] in damaged) for key, mark in found)

    def _fitting(self, query: RunQuery, ids: Sequence[str], paused: Collection[str]) -> list[Record]:
        """The records of those runs that match the query now."""
        return [record for record in self._records(ids) if _fits(record, query, paused)]

    def _records(self, ids: Sequence[str]) -> list[Record]:
        found: list[Record] = []
        for first in range(0, len(ids), CHUNK):
            chunk = ids[first : first + CHUNK]
            with self._lock:
                tables = self._tables
                tables.prefetch(chunk)
                runs = [run for run in map(tables.run, chunk) if run is not None]
                found += [Record(run.state(), run.created, "", tables.row(run.id)) for run in runs]
                tables.trim()
        return found


def _bounds(query: RunQuery, since: int | None, until: int | None) -> tuple[bytes, bytes]:
    """The first place, and the one before which to stop, of those that come next."""
    first = b"" if since is None else number(since)
    bound = b"\xff" * 9 if until is None else number(until)
    if query.after is None:
        return first, bound
    last = number(query.after[0]) + text(query.after[1])
    return (max(first, last + b"\0"), bound) if query.ascending else (first, min(bound, last))


def _key(place: bytes) -> ListKey:
    return read_number(place, 0), read_text(place, NUMBER)[0]


def _may_match(mark: bytes, query: RunQuery) -> bool:
    """Whether a live run with this mark may match the query."""
    if query.awaits and mark[:1] == LETTERS[Status.SLEEPING]:
        return False
    return query.status is None or status_at(mark, query.now) in query.status


def _fits(record: Record, query: RunQuery, paused: Collection[str]) -> bool:
    state, row, flow = record.state, record.row, record.created.flow
    return (
        (query.flow is None or record.created.flow == query.flow)
        and not ((query.open or query.awaits) and state.transition.status)
        and (not query.awaits or state.transition.events != ())
        and all(state.labels.get(name) == value for name, value in (query.labels or {}).items())
        and (query.status is None or status_of(state, row, query.now, flow_paused=flow in paused).value in query.status)
        and query.has_ranges(state, record.created.created_at)
        and (query.order != "due" or (row is not None and _is_asleep(row, query.now)))
    )


def _is_asleep(row: QueueRow, now: int) -> bool:
    return not (row.owner or row.blocked or row.paused) and row.due > now
