"""RocksdbDriver: opens sessions on one RocksDB directory."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.store import Driver, Maintenance, Store
from stepflow.drivers.rocksdb.maintenance import RocksdbMaintenance
from stepflow.drivers.rocksdb.registry import registry
from stepflow.drivers.rocksdb.session import RocksdbStore
from stepflow.errors import StoreError, Unavailable


class RocksdbDriver(Driver):
    """A store in one RocksDB directory, for any number of engines of one process; a second process is refused.

    `read_only` reads the content as of the time when a session opens, also while another process writes; every write
    raises ReadOnly.
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        if not str(path):
            raise StoreError("path='': RocksDB stores are directories, e.g. rocksdb:///orders; or use memory://")
        self.path, self.read_only = Path(path).absolute(), read_only
        self.url = f"rocksdb:///{quote(str(path))}" + ("?mode=ro" if read_only else "")

    def connect(self, namespace: str, owner: Owner, now: int) -> Store:  # noqa: ARG002
        """Open a session; a missing directory is created if its parent exists."""
        self._check_path()
        database = registry().take(self.path, read_only=self.read_only)
        try:
            return RocksdbStore(database, namespace, owner)
        except BaseException:
            registry().give(database)
            raise

    def maintenance(self, namespace: str) -> Maintenance:
        """Open the maintenance port; the directory is open during its calls only."""
        return RocksdbMaintenance(self.path, namespace, read_only=self.read_only)

    def _check_path(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise Unavailable(f"{self.path} is a file: name a directory, e.g. {self.path.with_suffix('.rocksdb')}")
        if self.read_only and not self.path.exists():
            raise Unavailable(f"{self.path} does not exist: leave out ?mode=ro to make it")
        if not self.path.parent.is_dir():
            raise Unavailable(f"{self.path}: there is no directory {self.path.parent}; create it, or use another path")
