"""Database: the state that all sessions of one directory share: its disk, counters, tables and open owners."""

from __future__ import annotations

from pathlib import Path
from threading import Condition

from stepflow.drivers.rocksdb.disk import Disk
from stepflow.drivers.rocksdb.keys import HEAD_KEY, META
from stepflow.drivers.rocksdb.overlay import Head, Overlay
from stepflow.drivers.rocksdb.records import dump, parse
from stepflow.drivers.rocksdb.tables import RocksdbTables
from stepflow.errors import Corrupt
from stepflow.model.state import DAMAGED


class RocksdbDatabase:
    """A RocksDB directory that this process has open; callers hold `changed` while they use it."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.disk = Disk(path, read_only=read_only)
        self.changed = Condition()
        self.changes = 0
        self.users = 0
        self.live: set[tuple[str, str]] = set()  # namespace and owner id of the open sessions
        self._spaces: dict[str, RocksdbTables] = {}
        self._generation = 0
        self._head = Head()

    def tables(self, namespace: str) -> RocksdbTables:
        """The tables of a namespace."""
        self.disk.ready()
        if self._generation != self.disk.generation:
            self._spaces.clear()
            self._head = self._read_head()
            self._generation = self.disk.generation
        tables = self._spaces.get(namespace)
        if tables is None:
            tables = self._spaces[namespace] = RocksdbTables(self.disk, namespace)
        return tables

    def _read_head(self) -> Head:
        record = self.disk.get(HEAD_KEY)
        if record is None and next(self.disk.scan(b"", META), None) is None:
            return Head()
        try:
            rev, epoch, seq = parse(record or b"")
            return Head(rev + 0, epoch + 0, seq + 0)
        except DAMAGED as error:  # numbers would be given again
            raise Corrupt(
                f"{self.disk.path}: its record of the last revision cannot be read ({type(error).__name__}: {error}): "
                "restore a backup; nothing was written"
            ) from error

    @property
    def head(self) -> Head:
        """The last numbers that were assigned; as of the last call of `tables`."""
        return self._head

    def overlay(self, tables: RocksdbTables) -> Overlay:
        """An empty change of a namespace."""
        return Overlay(tables, self._head.copy())

    def invalidate(self) -> None:
        """Memory may be ahead of the disk: read the disk again at the next use."""
        self._generation = 0

    def apply(self, tables: RocksdbTables, overlay: Overlay, *, synced: bool = True) -> None:
        """Write the change and make it visible, or raise a StoreError; `synced` as in `Disk.write`."""
        try:
            change = tables.entries(overlay)
            if change or overlay.head != self._head:
                head = overlay.head
                change[HEAD_KEY] = dump(head.rev, head.epoch, head.seq)
                self.disk.write(change, synced=synced)
        except BaseException:
            self.invalidate()
            raise
        tables.adopt(overlay)
        self._head = overlay.head
