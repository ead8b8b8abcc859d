"""RocksdbMaintenance: prunes and checks a RocksDB store in small portions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from stepflow.drivers.port.store import Maintenance
from stepflow.drivers.rocksdb.check import Inspection
from stepflow.drivers.rocksdb.database import RocksdbDatabase
from stepflow.drivers.rocksdb.delays import delays_of
from stepflow.drivers.rocksdb.keys import number, read_text
from stepflow.drivers.rocksdb.limits import over
from stepflow.drivers.rocksdb.prune import forget
from stepflow.drivers.rocksdb.registry import registry
from stepflow.drivers.rocksdb.tables import RocksdbTables

NUMBER = 8


class RocksdbMaintenance(Maintenance):
    """Maintenance of one namespace; shares the directory with the engines of this process."""

    def __init__(self, path: Path, namespace: str, *, read_only: bool) -> None:
        self._path, self._namespace, self._read_only = path, namespace, read_only

    @contextmanager
    def _open(self) -> Iterator[RocksdbDatabase]:
        database = registry().take(self._path, read_only=self._read_only)
        try:
            yield database
        finally:
            registry().give(database)

    def prune(self, before: int, limit: int) -> int:
        with self._open() as database, database.changed:
            tables = database.tables(self._namespace)
            ended = tables.keys.ended
            found = tables.disk.scan(ended, ended + number(before))
            names = (read_text(key, len(ended) + NUMBER)[0] for key, _none in found)
            ids = list(islice((run_id for run_id in names if _is_done(tables, run_id)), max(limit, 0)))
            overlay = database.overlay(tables)
            overlay.puts.update(over(tables, before))
            for run_id in ids:
                forget(overlay, tables, run_id)
            if overlay.puts:
                database.apply(tables, overlay)
            return len(ids)

    def check(self) -> list[str]:
        with self._open() as database:
            return Inspection(database, self._namespace).problems()


def _is_done(tables: RocksdbTables, run_id: str) -> bool:
    """Whether all delays of an ended run have fired."""
    return all(delay.fired for delay in delays_of(tables, run_id))
