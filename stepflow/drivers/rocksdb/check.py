"""Checks a store: every index key must belong to a run or queue row, and none of their index keys may be missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice

from stepflow.drivers.port.deltas import needed
from stepflow.drivers.rocksdb import journal, schedules
from stepflow.drivers.rocksdb.database import RocksdbDatabase
from stepflow.drivers.rocksdb.delays import DATA, DELAYS, last, load, parse_data, timed, waiting
from stepflow.drivers.rocksdb.index import row_entry, run_entries
from stepflow.drivers.rocksdb.keys import (
    NUMBER,
    after,
    indexed_id,
    number,
    queued_key,
    read_number,
    read_text,
    text,
)
from stepflow.drivers.rocksdb.records import exchange_of
from stepflow.drivers.rocksdb.revision_index import places
from stepflow.drivers.rocksdb.tables import RocksdbTables

CHUNK = 200  # keys that are checked while the lock is held


class Inspection:
    """One check of a namespace; commits may happen meanwhile."""

    def __init__(self, database: RocksdbDatabase, namespace: str) -> None:
        self._database, self._namespace = database, namespace
        with database.changed:
            self._keys = database.tables(namespace).keys

    def problems(self) -> list[str]:
        """The problems that were found, one text each."""
        keys = self._keys
        found = list(self._counted())
        for prefix, look in (
            (keys.runs, self._run),
            (keys.revs, self._revision),
            (keys.queue, self._row),
            (keys.ages, self._indexed),
            (keys.labels, self._indexed),
            (keys.ended, self._indexed),
            (keys.partitions, self._queued),
            (keys.held, self._queued),
            (keys.delays, self._delay),
            (keys.dues, self._timed),
            (keys.data, self._data),
            (keys.blobs, self._blob),
            (keys.journal, self._journal),
            (keys.schedules, self._schedule),
            (keys.ticks, self._tick),
        ):
            for tables, key in self._each(prefix):
                found += look(tables, key)
        return found

    def _each(self, prefix: bytes) -> Iterator[tuple[RocksdbTables, bytes]]:
        """The keys with this prefix; each is read and checked under the lock."""
        start = prefix
        while True:
            with self._database.changed:
                tables = self._database.tables(self._namespace)
                chunk = [key for key, _ in islice(tables.disk.scan(start, after(prefix)), CHUNK)]
                for key in chunk:
                    yield tables, key
                tables.trim()
            if not chunk:
                return
            start = chunk[-1] + b"\0"

    def _counted(self) -> Iterator[str]:
        keys = self._keys
        with self._database.changed:
            tables = self._database.tables(self._namespace)
            kept = +tables.counts
            rows = tables.disk.scan(keys.ages, after(keys.ages))
        real: Counter[tuple[str, str]] = Counter()
        for key, _mark in rows:
            group, at = read_text(key, len(keys.ages))
            real[group, read_text(key, at)[0]] += 1
        for group, flow in sorted(kept.keys() | real.keys()):
            if kept[group, flow] != real[group, flow]:
                yield f"flow {flow!r}: {real[group, flow]} runs are {group}, the counter says {kept[group, flow]}"

    def _run(self, tables: RocksdbTables, key: bytes) -> Iterator[str]:
        run_id = read_text(key, len(self._keys.runs))[0]
        run = tables.run(run_id)
        if run is None:
            yield f"run {run_id!r} has no history"
            return
        if run.journaled is not journal.exists(tables, run_id):
            yield f"run {run_id!r} {'has no' if run.journaled else 'does not know of its'} journal rows"
        for entry, value in run_entries(self._keys, run, tables.row(run_id)).items():
            if tables.disk.get(entry) != value:
                yield f"run {run_id!r} is missing in an index: {entry!r}"

    def _revision(self, tables: RocksdbTables, key: bytes) -> Iterator[str]:
        for code, rev in places(key, tables.disk.get(key) or b"", len(self._keys.revs)):
            if rev > self._database.head.rev:
                yield f"revision {rev} is above the newest one, {self._database.head.rev}"
            record = tables.disk.get(self._keys.history + code + number(rev))
            if record is None:
                yield f"revision {rev} is missing in the history of its run {code!r}"
                continue
            for part in sorted(needed({rev: exchange_of(record)})):
                if tables.disk.get(self._keys.history + code + number(part)) is None:
                    yield f"the exchange of revision {rev} builds on that of revision {part}, which is missing"

    def _row(self, tables: RocksdbTables, key: bytes) -> Iterator[str]:
        name = read_text(key, len(self._keys.queue))[0]
        row = tables.row(name)
        if row is not None and tables.disk.get(row_entry(self._keys, row, text(name))) is None:
            yield f"the queue row of run {name!r} is missing in its partition"

    def _indexed(self, tables: RocksdbTables, key: bytes) -> Iterator[str]:
        run_id = indexed_id(self._keys, key)
        run = tables.run(run_id)
        if run is None or key not in run_entries(self._keys, run, tables.row(run_id)):
            yield f"an index names run {run_id!r} where it is not: {key!r}"

    def _queued(self, tables: RocksdbTables, key: bytes) -> Iterator[str]:
        name = queued_key(self._keys, key)
        row = tables.row(name)
        if row is None or row_entry(self._keys, row, text(name)) != key:
            yield f"a partition names run {name!r} where it is not: {key!r}"

    def _delay(self, tables: RocksdbTables, key: bytes) -> Iterator[str]:
        run_id, at = read_text(key, len(self._keys.delays))
        offset = read_number(key, at)
        record = tables.disk.get(key)
        delay = None if record is None else load(record, run_id, offset).delay
        if delay is not None and tables.disk.get(timed(self._keys, delay)) is None:
            yield f"delay {offset} of run {run_id!r} is missing in the index by time"
        if offset > last(tables, self._keys, DELAYS):
            yield f"delay {offset} of run {run_id!r} is above the last one, {last(tables, self._keys, DELAYS)}"

    def _timed(self, tables: RocksdbTables, key: bytes) -> Iterator[str]:
        at = len(self._keys.dues) + 1 + NUMBER
        (run_id, _end), offset = read_text(key, at + NUMBER), read_number(key, at)
        record = tables.disk.get(self._keys.delays + text(run_id) + number(offset))
        if record is None or timed(self._keys, load(record, run_id, offset).delay) != key:
            yield f"the index by time names delay {offset} of run {run_id!r} where it is not: {key!r}"

    def _data(self, tables: RocksdbTables, key: bytes) -> Iterator[str]:
        rev = read_number(key, len(self._keys.data))
        record = tables.disk.get(key)
        run_id = None if record is None else parse_data(record)[0]
        if run_id is not None and tables.disk.get(self._keys.blobs + text(run_id) + number(rev)) is None:
            yield f"data {rev} is missing in the index of run {run_id!r}"
        if rev > last(tables, self._keys, DATA):
            yield f"data {rev} is above the last one, {last(tables, self._keys, DATA)}"

    def _blob(self, tables: RocksdbTables, key: bytes) -> Iterator[str]:
        run_id, at = read_text(key, len(self._keys.blobs))
        if tables.disk.get(self._keys.data + key[at:]) is None:
            yield f"data {read_number(key, at)} of run {run_id!r} is missing"

    def _schedule(self, tables: RocksdbTables, key: bytes) -> Iterator[str]:
        row = schedules.get(tables, self._keys, read_text(key, len(self._keys.schedules))[0])
        due = None if row is None else schedules.due_key(self._keys, row)
        if row is not None and due is not None and tables.disk.get(due) is None:
            yield f"schedule {row.id!r} is missing in the index by time"

    def _tick(self, tables: RocksdbTables, key: bytes) -> Iterator[str]:
        name = read_text(key, len(self._keys.ticks) + NUMBER)[0]
        row = schedules.get(tables, self._keys, name)
        if row is None or schedules.due_key(self._keys, row) != key:
            yield f"the index by time names schedule {name!r} where it is not: {key!r}"

    def _journal(self, tables: RocksdbTables, key: bytes) -> Iterator[str]:
        name = read_text(key, len(self._keys.journal))[0]
        if tables.run(name) is None and waiting(tables, self._keys, name) is None:
            yield f"a journal row of {name!r} belongs to no run"
