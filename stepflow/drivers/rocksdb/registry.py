"""registry: the databases that this process has open, by path: RocksDB locks a directory for a process, so its sessions share it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from threading import Lock

from stepflow.drivers.port.process_fork import on_fork
from stepflow.drivers.rocksdb.database import RocksdbDatabase


class Registry:
    """Keeps one Database per directory, opened by the first user and closed by the last."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._open: dict[tuple[Path, bool], RocksdbDatabase] = {}
        on_fork(self)

    def after_fork(self) -> None:
        """The open databases belong to the parent process."""
        self._lock = Lock()
        for database in self._open.values():
            database.disk.disown()
        self._open.clear()

    def take(self, path: Path, *, read_only: bool) -> RocksdbDatabase:
        """The database of a directory; counts one more user. Raises StoreReplaced while another one is open that was at this path before."""
        place = (path.resolve(), read_only)
        with self._lock:
            database = self._open.get(place)
            if database is None or read_only:  # a read-only user needs the newest view
                database = self._open[place] = RocksdbDatabase(place[0], read_only=read_only)
            else:
                database.disk.check_identity()
            database.users += 1
            return database

    def give(self, database: RocksdbDatabase) -> None:
        """Count one user less; the last one closes the database."""
        with self._lock, database.changed:
            database.users -= 1
            if database.users:
                return
            place = (database.disk.path, database.disk.read_only)
            if self._open.get(place) is database:
                del self._open[place]
            database.disk.close()


@lru_cache(maxsize=1)
def registry() -> Registry:
    """The registry of this process; there is only one, because a process has only one lock per directory."""
    return Registry()
