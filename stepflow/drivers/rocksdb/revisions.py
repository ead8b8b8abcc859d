"""revisions: answers queries for revisions: by run, by revision, or by labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, takewhile
from threading import Condition

from stepflow.drivers.port.deltas import is_delta, length_of, needed, restore
from stepflow.drivers.port.queries import HistoriesQuery, HistoryQuery, Revision
from stepflow.drivers.rocksdb.index_scan import common, union
from stepflow.drivers.rocksdb.keys import after, number, read_number, read_text, text
from stepflow.drivers.rocksdb.records import exchange_of, parse_revision
from stepflow.drivers.rocksdb.revision_index import Finder, Place, walk
from stepflow.drivers.rocksdb.tables import RocksdbTables
from stepflow.model.state import State

CHUNK = 256
LARGE = 8  # rows with their exchanges, which may be large, that are read at once
END = b"\xff" * 9


class RocksdbRevisionSearch:
    """The revisions of one namespace; rows never change, so reading them needs no lock."""

    def __init__(self, tables: RocksdbTables) -> None:
        self._tables, self._keys = tables, tables.keys
        self._newest: dict[bytes, int] = {}

    def exchanges(self, places: Iterable[Place]) -> dict[Place, str]:
        """The exchange texts that were written with these revisions."""
        return self.whole(self.stored(places))

    def stored(self, places: Iterable[Place]) -> dict[Place, str]:
        """The same in their stored form, without those that cannot be read."""
        wanted = sorted(set(places))
        return {
            place: text
            for place, record in zip(wanted, self._records(wanted), strict=True)
            if record and (text := exchange_of(record))
        }

    def whole(self, stored: dict[Place, str]) -> dict[Place, str]:
        """The whole texts of exchanges in their stored form; without a delta among them nothing is read."""
        deltas = [(place, text) for place, text in stored.items() if is_delta(text)]
        if not deltas:
            return stored
        more = {(code, part) for (code, rev), text in deltas for part in needed({rev: text})}.difference(stored)
        forms = {rev: text for (_code, rev), text in (self.stored(more) | stored).items()}
        whole = restore(forms, [rev for _code, rev in stored])
        return {place: whole[place[1]] for place in stored}

    def _records(self, places: Sequence[Place]) -> list[bytes | None]:
        return self._tables.disk.get_many([self._keys.history + code + number(rev) for code, rev in places])

    def _rows(self, places: Sequence[Place]) -> list[tuple[State, int, str]]:
        """The rows of the history at these places, without those that were pruned meanwhile."""
        return [
            parse_revision(record, read_text(code, 0)[0], rev)
            for (code, rev), record in zip(places, self._records(places), strict=True)
            if record is not None
        ]

    def answer(self, query: HistoryQuery, lock: Condition) -> list[Revision]:
        """The revisions that the query asks for, in ascending order."""
        with lock:  # one view of all indexes
            places = self._places(query)
        if query.latest_only:
            places = (place for place in places if self._is_newest(*place))
        found: list[tuple[State, int, str]] = []
        size, step = 0, LARGE if query.exchange else CHUNK
        while (
            len(found) < query.limit
            and size <= query.max_size
            and (chunk := list(islice(places, min(step, query.limit))))
        ):
            for row in self._rows(chunk):
                if _fits(row[0], query):
                    size += length_of(row[2]) if query.exchange and row[1] == row[0].rev else 0
                    if found and size > query.max_size:
                        break
                    found.append(row)
        found = found[: max(query.limit, 0)]
        found = found[::-1] if query.last else found
        return self._revisions(found) if query.exchange else [Revision(state, "") for state, _rev, _own in found]

    def newest(self, query: HistoriesQuery, lock: Condition) -> list[tuple[State, ...]]:
        """The newest revisions of each run, ascending."""
        states: dict[str, list[State]] = {run_id: [] for run_id in query.ids}
        with lock:  # one view of all indexes
            self._tables.prefetch(states)
            wanted = [self._places(HistoryQuery(run_id, last=True)) for run_id in states]
            self._tables.trim()
        found = [place for places in wanted for place in islice(places, max(query.limit, 0))]
        for state, _rev, _text in self._rows(found):
            states[state.id].append(state)
        return [tuple(reversed(states[run_id])) for run_id in query.ids]

    def _revisions(self, found: Sequence[tuple[State, int, str]]) -> list[Revision]:
        """The revision with its exchange, which an earlier revision may have written."""
        texts = self.stored((text(state.id), rev) for state, rev, _ in found if rev != state.rev)
        texts |= {(text(state.id), rev): own for state, rev, own in found if rev == state.rev}
        texts = self.whole(texts)
        revisions = []
        for state, rev, _own in found:
            exchange = texts.get((text(state.id), rev))
            if exchange is not None:  # otherwise it was pruned meanwhile
                revisions.append(Revision(state, exchange))
        return revisions

    def _places(self, query: HistoryQuery) -> Iterator[Place]:
        """The candidates in the requested direction; the rows are checked later."""
        if query.id is not None:
            if self._tables.run(query.id) is None:
                return iter(())
            code = text(query.id)
            prefix = self._keys.history + code
            return ((code, read_number(key, len(prefix))) for key, _ in self._range(prefix, query))
        if query.labels and all(query.labels):
            return self._tagged(query)
        first, last = query.since_rev + 1, query.until_rev
        return walk(self._tables.disk, self._keys, first, last, query.since, back=query.last)

    def _range(self, prefix: bytes, query: HistoryQuery) -> Iterator[tuple[bytes, bytes]]:
        stop = after(prefix) if query.until_rev is None else prefix + number(query.until_rev + 1)
        start = prefix + number(query.since_rev + 1)
        if start >= stop:
            return iter(())
        disk = self._tables.disk
        return disk.scan_back(stop, start) if query.last else disk.scan(start, stop)

    def _tagged(self, query: HistoryQuery) -> Iterator[Place]:
        """The revisions that have all labels of one of the groups."""
        back, disk, tagged = query.last, self._tables.disk, self._keys.tagged
        first = number(query.since_rev + 1)
        last = END if query.until_rev is None else number(query.until_rev)
        walks = [
            common(
                [disk.cursor(tagged + text(n) + text(v), back=back) for n, v in group.items()], last if back else first
            )
            for group in query.labels
        ]
        ends = takewhile(lambda end: first <= end <= last, union(walks, back=back))
        return self._committed(ends, query.since, Finder(disk, self._keys))

    def _committed(self, ends: Iterator[bytes], since: int, index: Finder) -> Iterator[Place]:
        for end in ends:
            rev = read_number(end, 0)
            found = index.find(rev)
            if found is not None and found[1] >= since:
                yield found[0], rev

    def _is_newest(self, code: bytes, rev: int) -> bool:
        newest = self._newest.get(code)
        if newest is None:
            prefix = self._keys.history + code
            if self._tables.has_pruned and self._tables.refuses(read_text(code, 0)[0]):
                self._newest[code] = 0
                return False
            last = next(self._tables.disk.scan_back(prefix + END, prefix), None)
            newest = self._newest[code] = 0 if last is None else read_number(last[0], len(prefix))
        return rev == newest


def _fits(state: State, query: HistoryQuery) -> bool:
    groups = query.labels
    return state.committed_at >= query.since and (
        not groups or any(all(state.labels.get(n) == v for n, v in group.items()) for group in groups)
    )
