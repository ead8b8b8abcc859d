"""prune: deletes ended runs in small batches; a run that is too large for one is hidden in its first and deleted in several.

Its record and index keys go first, a mark under its id stays until all is deleted. The history goes from the newest revision back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from attrs import define

from stepflow.drivers.port.pruning import BYTES, PAGE, RUNS, Budget, Candidates, Pruned, PrunedId, own_of
from stepflow.drivers.rocksdb.database import RocksdbDatabase
from stepflow.drivers.rocksdb.delays import delays_of, timed
from stepflow.drivers.rocksdb.keys import NUMBER, Keys, after, number, read_number, read_text, text
from stepflow.drivers.rocksdb.limits import ends, ends_of
from stepflow.drivers.rocksdb.overlay import Below
from stepflow.drivers.rocksdb.records import RunRecord, dump, parse, parse_revision
from stepflow.drivers.rocksdb.revision_index import Finder
from stepflow.drivers.rocksdb.tables import RocksdbTables

BLOB = BYTES // 16  # counted for data, which are not read


def pruned(below: Below, keys: Keys, run_id: str) -> PrunedId | None:
    """What stands for the pruned run of this id, if it is refused."""
    record = below.value(keys.pruned + text(run_id))
    return None if record is None else PrunedId(run_id, *parse(record)[:2])


def kept_key(keys: Keys, gone: PrunedId) -> bytes:
    """The index key of a refused id by time; first those with records left."""
    return keys.kept + number(gone.until) + text(gone.id)


@define
class RocksdbPruning:
    """One pruning of a namespace; `left` is how many runs it may still delete."""

    database: RocksdbDatabase
    namespace: str
    candidates: Candidates
    left: int
    now: int
    keep_until: int

    def pieces(self) -> Iterator[Pruned]:
        """Delete a piece at each step, until there is nothing more to delete."""
        ids, waiting = self.candidates.ids(lambda: [()], self._page), deque[str]()
        while True:
            waiting.extend(islice(ids, max(min(RUNS, self.left) - len(waiting), 0)))
            with self.database.changed:
                piece = _RocksdbPiece(self.database, self.namespace, self.candidates.before, self.now, self.keep_until)
                if not waiting and not piece.has_more():
                    break
                flows = piece.write(waiting)
            self.left -= len(flows)
            yield Pruned(len(flows), piece.revisions, 1, own_of(flows))
        yield from self._delete_over()

    def _page(self, _group: Sequence[str], ended_at: int, run_id: str) -> list[Any]:
        with self.database.changed:
            tables = self.database.tables(self.namespace)
            prefix = tables.keys.ended
            start = prefix + number(ended_at) + (text(run_id) + b"\0" if run_id else b"")
            rows = []
            for key, _none in islice(tables.disk.scan(start, prefix + number(self.candidates.before)), PAGE):
                found = read_text(key, len(prefix) + NUMBER)[0]
                rows.append((read_number(key, len(prefix)), found, not _is_done(tables, found)))
            return rows

    def _delete_over(self) -> Iterator[Pruned]:
        """Delete start times and deduplication keys that ended, some in each batch."""
        with self.database.changed:
            found = ends(self.database.tables(self.namespace))
        old = (key for key, end in found if end < self.candidates.before)
        while some := list(islice(old, Budget().rows)):
            with self.database.changed:
                tables = self.database.tables(self.namespace)
                overlay = self.database.overlay(tables)
                rows = ((key, tables.disk.get(key)) for key in some)
                again = ends_of(tables.keys, ((key, record) for key, record in rows if record is not None))
                overlay.puts.update({key: None for key, end in again if end < self.candidates.before})
                self.database.apply(tables, overlay, synced=False)
            yield Pruned(pieces=1)


def _is_done(tables: RocksdbTables, run_id: str) -> bool:
    """Whether all delays of an ended run have fired."""
    return all(delay.fired for delay in delays_of(tables, run_id))


class _RocksdbPiece:
    """One batch of a pruning, while the lock of the database is held."""

    def __init__(self, database: RocksdbDatabase, namespace: str, before: int, now: int, keep_until: int) -> None:
        self._database, self._before, self._now, self._keep_until = database, before, now, keep_until
        self._tables = database.tables(namespace)
        self._keys, self._disk = self._tables.keys, self._tables.disk
        self._overlay = database.overlay(self._tables)
        self._budget = Budget()
        self.revisions = 0

    def has_more(self) -> bool:
        """Whether runs are marked that are not deleted yet, or ids whose time is over."""
        return next(self._marked(), None) is not None

    def _marked(self) -> Iterator[str]:
        """Ids with records left, then those whose time is over."""
        kept = self._keys.kept
        rows = self._disk.scan(kept + number(0), kept + number(max(self._now, 0) + 1))
        return (read_text(key, len(kept) + NUMBER)[0] for key, _none in rows)

    def write(self, waiting: deque[str]) -> list[str]:
        """Go on with marked runs, then take waiting ones; the flows of those that are gone now and were there before."""
        flows: list[str] = []
        for run_id in list(islice(self._marked(), RUNS)):
            input_hash, until, keep_until = parse(self._disk.get(self._keys.pruned + text(run_id)) or dump("", 0, 0))
            if until:
                self._mark(run_id, until, None)
            elif not self._budget.spent:
                self._delete(run_id, input_hash, keep_until)
        while waiting and not self._budget.spent:
            run_id = waiting.popleft()
            run = self._tables.run(run_id)
            if run is not None and self._is_over(run):
                self._overlay.gone.add(run_id)
                self._delete(run_id, run.created.input_hash, self._keep_until)
                flows.append(run.created.flow)
        self._database.apply(self._tables, self._overlay, synced=False)  # what a power failure brings back goes again
        return flows

    def _is_over(self, run: RunRecord) -> bool:
        ended = run.transition.status and run.committed_at < self._before and self._tables.row(run.id) is None
        return bool(ended) and _is_done(self._tables, run.id)

    def _delete(self, run_id: str, input_hash: str, keep_until: int) -> None:
        """Delete what the budget allows of a run, and mark its id or remove the mark."""
        complete = self._delete_history(run_id) and self._delete_attached(run_id)
        keep_until = keep_until if keep_until > self._now else 0
        if not complete:
            self._mark(run_id, 0, dump(input_hash, 0, keep_until))
        else:
            self._mark(run_id, 0, None)
            if keep_until:
                self._mark(run_id, keep_until, dump(input_hash, keep_until, keep_until))

    def _mark(self, run_id: str, until: int, record: bytes | None) -> None:
        """Write the mark of an id and its index key, or remove both."""
        puts = self._overlay.puts
        puts[self._keys.pruned + text(run_id)] = record
        puts[kept_key(self._keys, PrunedId(run_id, "", until))] = None if record is None else b""
        self._tables.has_pruned = self._tables.has_pruned or record is not None

    def _delete_history(self, run_id: str) -> bool:
        keys, puts, index = self._keys, self._overlay.puts, Finder(self._disk, self._keys)
        history = keys.history + text(run_id)
        for key, record in self._disk.scan_back(after(history), history):
            if self._budget.spent:
                return False
            self._budget.spend(len(record))
            self.revisions += 1
            rev = read_number(key, len(history))
            puts[key] = None
            index.forget(self._overlay, rev)
            for name, value in parse_revision(record, run_id, rev)[0].labels.items():
                puts[keys.tagged + text(name) + text(value) + number(rev)] = None
        return True

    def _delete_attached(self, run_id: str) -> bool:
        keys, puts, code = self._keys, self._overlay.puts, text(run_id)
        for delay in delays_of(self._tables, run_id):
            puts[timed(keys, delay)] = None
        for prefix in (
            keys.events + code,
            keys.published + code,
            keys.delays + code,
            keys.blobs + code,
            keys.journal + code,
        ):
            for key, record in self._disk.scan(prefix, after(prefix)):
                if self._budget.spent:
                    return False
                self._budget.spend(len(record) or BLOB)
                puts[key] = None
                if prefix == keys.blobs + code:
                    puts[keys.data + key[len(prefix) :]] = None
        return True
