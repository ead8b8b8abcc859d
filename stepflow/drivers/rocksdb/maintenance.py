"""Pruning and checking of a RocksDB store, a little at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from stepflow.drivers.port.store import Maintenance
from stepflow.drivers.rocksdb.check import Inspection
from stepflow.drivers.rocksdb.database import Database
from stepflow.drivers.rocksdb.delays import delays_of
from stepflow.drivers.rocksdb.keys import number, read_text
from stepflow.drivers.rocksdb.limits import over
from stepflow.drivers.rocksdb.prune import forget
from stepflow.drivers.rocksdb.registry import shelf
from stepflow.drivers.rocksdb.tables import Space

NUMBER = 8


class RocksdbMaintenance(Maintenance):
    """Upkeep of one namespace; shares the directory with the engines of this process."""

    def __init__(self, path: Path, namespace: str, *, read_only: bool) -> None:
        self._path, self._namespace, self._read_only = path, namespace, read_only

    @contextmanager
    def _open(self) -> Iterator[Database]:
        database = shelf().take(self._path, read_only=self._read_only)
        try:
            yield database
        finally:
            shelf().give(database)

    def prune(self, before: int, limit: int) -> int:
        with self._open() as database, database.changed:
            space = database.space(self._namespace)
            ended = space.keys.ended
            found = space.disk.scan(ended, ended + number(before))
            names = (read_text(key, len(ended) + NUMBER)[0] for key, _none in found)
            ids = list(islice((run_id for run_id in names if _is_done(space, run_id)), max(limit, 0)))
            draft = database.draft(space)
            draft.puts.update(over(space, before))
            for run_id in ids:
                forget(draft, space, run_id)
            if draft.puts:
                database.apply(space, draft)
            return len(ids)

    def check(self) -> list[str]:
        with self._open() as database:
            return Inspection(database, self._namespace).problems()


def _is_done(space: Space, run_id: str) -> bool:
    """Whether all delays of an ended run have fired."""
    return all(delay.fired for delay in delays_of(space, run_id))
