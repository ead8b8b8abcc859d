"""RocksdbMaintenance: prunes and checks a RocksDB store in small portions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stepflow.drivers.port.disk_space import disk_space
from stepflow.drivers.port.pruning import Candidates, Pruned
from stepflow.drivers.port.queries import Condition
from stepflow.drivers.port.store import Maintenance
from stepflow.drivers.rocksdb.check import Inspection
from stepflow.drivers.rocksdb.database import RocksdbDatabase
from stepflow.drivers.rocksdb.prune import RocksdbPruning
from stepflow.drivers.rocksdb.registry import registry


class RocksdbMaintenance(Maintenance):
    """Maintenance of one namespace; shares the directory with the engines of this process."""

    def __init__(self, path: Path, namespace: str, *, read_only: bool) -> None:
        self._path, self._namespace, self._read_only = path, namespace, read_only
        self._candidates = Candidates(0)

    @contextmanager
    def _open(self) -> Iterator[RocksdbDatabase]:
        database = registry().take(self._path, read_only=self._read_only)
        try:
            yield database
        finally:
            registry().give(database)

    def pruning(self, before: int, limit: int, *, now: int = 0, keep_until: int = 0) -> Iterator[Pruned]:
        if self._candidates.before != before:
            self._candidates = Candidates(before)
        with self._open() as database:
            yield from RocksdbPruning(database, self._namespace, self._candidates, limit, now, keep_until).pieces()

    def conditions(self, now: Callable[[], int]) -> list[Condition]:  # noqa: ARG002
        with self._open():
            return [disk_space(self._path)]

    def check(self) -> list[str]:
        with self._open() as database:
            return Inspection(database, self._namespace).problems()
