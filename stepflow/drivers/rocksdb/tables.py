"""RocksdbTables: the tables of one namespace, with the parts that every commit needs cached in memory."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

from stepflow.drivers.port.commit import Owner
from stepflow.drivers.rocksdb import damaged
from stepflow.drivers.rocksdb.disk import Disk
from stepflow.drivers.rocksdb.index import Side, index_change, kind_of, row_entry
from stepflow.drivers.rocksdb.keys import Change, Keys, after, number, read_number, read_text, text
from stepflow.drivers.rocksdb.overlay import Overlay
from stepflow.drivers.rocksdb.partitions import Partitions
from stepflow.drivers.rocksdb.records import (
    UNREADABLE,
    RunRecord,
    dump,
    dump_row,
    dump_run,
    fixed,
    parse,
    parse_owner,
    parse_row,
    parse_run,
)
from stepflow.model.blocked import unreadable_row
from stepflow.model.lifecycle import QueueRow
from stepflow.model.state import Unreadable

REMEMBERED = 16_384  # runs without an owner whose newest records stay cached, about 1 KB each


class RocksdbTables:
    """The runs, queue and owners of a namespace; an Overlay is based on them and is applied to them."""

    def __init__(self, disk: Disk, namespace: str) -> None:
        self.disk, self.keys = disk, Keys(namespace)
        self._runs: dict[str, RunRecord | None] = {}
        self._rows: dict[str, QueueRow | None] = {}
        self.held: defaultdict[str, set[str]] = defaultdict(set)  # owner -> keys of its rows
        self.counts: Counter[tuple[str, str]] = Counter()  # group and creating flow -> runs
        self.owners: dict[str, Owner] = {}
        self.partitions = Partitions(disk, self.keys)
        self.has_pruned = next(disk.scan(self.keys.kept, after(self.keys.kept)), None) is not None  # ids may be refused
        self.paused_flows: set[str] | None = None  # None: to be read
        self.ticks_from = self.keys.ticks  # the index of schedules has no key before this one
        self._recover()

    def _recover(self) -> None:
        """Read the parts that are cached in memory."""
        disk, keys = self.disk, self.keys
        for key, record in disk.scan(keys.counts, after(keys.counts)):
            group, at = read_text(key, len(keys.counts))
            flow = read_text(key, at)[0]
            self.counts[group, flow] = self._count(record, group, flow)
        for key, record in disk.scan(keys.owners, after(keys.owners)):
            owner_id = read_text(key, len(keys.owners))[0]
            self.owners[owner_id] = parse_owner(record, owner_id)
        for key, _none in disk.scan(keys.held, after(keys.held)):
            owner_id, at = read_text(key, len(keys.held))
            self.held[owner_id].add(read_text(key, at)[0])

    def _count(self, record: bytes, group: str, flow: str) -> int:
        """The stored count of a group; its runs are counted again if that cannot be read."""
        try:
            (number,) = parse(record)
        except UNREADABLE:
            prefix = self.keys.group(group, flow)
            return sum(1 for _run in self.disk.scan(prefix, after(prefix)))
        return int(number)

    def run(self, run_id: str) -> RunRecord | None:
        """The run of that id."""
        if run_id not in self._runs:
            self._read_runs([run_id])
        return self._runs[run_id]

    def _read_runs(self, ids: Sequence[str]) -> None:
        """Read runs with their newest revisions into memory."""
        codes, start = [text(run_id) for run_id in ids], self.keys.history
        records = self.disk.get_many([self.keys.runs + code for code in codes])
        known = [n for n, record in enumerate(records) if record is not None]
        self._runs.update(dict.fromkeys(ids))
        for n, newest in zip(known, self.disk.last_of(start + codes[n] for n in known), strict=True):
            if newest is not None:
                rev = read_number(newest[0], len(start) + len(codes[n]))
                self._runs[ids[n]] = run = parse_run(records[n] or b"", ids[n], codes[n], rev, newest[1])
                if run.unread:
                    damaged.complete(self.disk, self.keys, run)

    def row(self, key: str) -> QueueRow | None:
        """The queue row of that key."""
        if key not in self._rows:
            record = self.disk.get(self.keys.queue + text(key))
            self._rows[key] = None if record is None else self._parsed(key, record)
        return self._rows[key]

    def _parsed(self, key: str, record: bytes) -> QueueRow:
        """The row of a record; for one that cannot be read a blocked row, which is not written and not claimed."""
        try:
            return parse_row(record)
        except UNREADABLE as error:
            self.partitions.unreadable.add(text(key))
            run, why = self.run(key), unreadable_row(f"{type(error).__name__}: {error}")
            if run is None:
                return QueueRow("", 0, blocked=why)
            return QueueRow(run.transition.to, 0, priority=run.priority, limits=run.limits, blocked=why)

    def refuses(self, run_id: str) -> bool:
        """Whether the id is that of a pruned run and cannot be started."""
        return self.has_pruned and self.disk.get(self.keys.pruned + text(run_id)) is not None

    def prefetch(self, keys: Collection[str]) -> None:
        """Read the runs and rows of these keys together into the cache."""
        cold = [key for key in keys if key not in self._runs]
        if cold:
            self._read_runs(cold)
            for key in cold:
                if self._runs[key] is None and "\0" not in key:
                    self._rows[key] = None  # only runs and delays have rows
        bare = [key for key in keys if key not in self._rows]
        if bare:
            rows = self.disk.get_many([self.keys.queue + text(key) for key in bare])
            parsed = [None if row is None else self._parsed(key, row) for key, row in zip(bare, rows, strict=True)]
            self._rows.update(zip(bare, parsed, strict=True))

    def cached(self) -> tuple[Mapping[str, RunRecord | None], Mapping[str, QueueRow | None]]:
        """The cached runs and rows."""
        return self._runs, self._rows

    def value(self, key: bytes) -> bytes | None:
        """The record at a key."""
        return self.disk.get(key)

    def beneath(self, prefix: bytes, start: int) -> dict[bytes, bytes]:
        """The records whose keys start with `prefix`, from number `start` on, in order."""
        return dict(self.disk.scan(prefix + number(start), prefix + b"\xff" * 9))

    def entries(self, overlay: Overlay) -> Change:
        """All records that an overlay writes: its own, and those derived from its runs and rows."""
        keys, out = self.keys, overlay.puts
        groups: Counter[tuple[str, str]] = Counter()
        out.update(overlay.by_prefix)
        for key, row in overlay.rows.items():
            run = self.run(key)
            self._row_entries(out, key, row, text(key) if run is None else run.code)
            if run is not None and key not in overlay.runs:
                self._index(out, groups, (run, self.row(key)), (run, row))
        for run_id, run in overlay.runs.items():
            old, row = self.run(run_id), overlay.row(run_id)
            if not run.unread and (old is None or fixed(old) != fixed(run)):
                out[keys.runs + run.code] = dump_run(run)
            self._index(out, groups, (old, self.row(run_id)), (run, row))
        for run_id in overlay.gone:
            self._index(out, groups, (self.run(run_id), self.row(run_id)), (None, None))
            out[keys.runs + text(run_id)] = None
        for group, more in groups.items():
            if more:
                self.counts[group] += more
                out[self._count_key(group)] = dump(self.counts[group]) if self.counts[group] else None
        return out

    def _index(self, out: Change, groups: Counter[tuple[str, str]], before: Side, side: Side) -> None:
        """Write what a change of a run and its row makes of the indexes."""
        if before[0] is not None and type(before[0].transition) is Unreadable:
            damaged.reindex(self.disk, self.keys, out, groups, before, side)
        else:
            index_change(out, groups, self.keys, before, side)

    def _count_key(self, group: tuple[str, str]) -> bytes:
        return self.keys.counts + text(group[0]) + text(group[1])

    def _row_entries(self, out: Change, key: str, row: QueueRow | None, code: bytes) -> None:
        keys, old = self.keys, self.row(key)
        out[keys.queue + code] = None if row is None else dump_row(row)
        if code in self.partitions.unreadable:
            out.update(dict.fromkeys(damaged.entries_of(self.disk, keys, key)))
        elif old is not None:
            out[row_entry(keys, old, code)] = None
        if row is not None:
            out[row_entry(keys, row, code)] = b""

    def adopt(self, overlay: Overlay) -> None:
        """Apply an overlay that was written to disk to the cache."""
        for key, row in overlay.rows.items():
            old = self._rows[key]
            self.partitions.unreadable.discard(text(key))
            if old is not None and old.owner:
                self.held[old.owner].discard(key)
            if row is not None and row.owner:
                self.held[row.owner].add(key)
            elif row is not None:
                self.partitions.added(row, kind_of(row), text(key))
        if overlay.first_tick is not None:
            self.ticks_from = min(self.ticks_from, overlay.first_tick)
        self._rows.update(overlay.rows)
        self._runs.update(overlay.runs)
        self._runs.update(dict.fromkeys(overlay.gone))
        self.trim()

    def trim(self) -> None:
        """Drop runs without an owner from the cache when there are too many of them."""
        held = sum(map(len, self.held.values()))
        if len(self._rows) + len(self._runs) > 2 * (held + REMEMBERED):
            mine = set().union(*self.held.values())
            self._rows = {key: row for key, row in self._rows.items() if key in mine}
            self._runs = {key: run for key, run in self._runs.items() if key in mine}
