"""SqliteDriver: opens sessions on one SQLite file."""

from __future__ import annotations

import os
from pathlib import Path
from weakref import ReferenceType, ref

from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.store import Driver, Maintenance, Store
from stepflow.drivers.sqlite import schema
from stepflow.drivers.sqlite.commit_fast import REVISION
from stepflow.drivers.sqlite.database import SqliteDatabase
from stepflow.drivers.sqlite.maintenance import SqliteMaintenance
from stepflow.drivers.sqlite.session import SqliteStore
from stepflow.errors import StoreError, Unavailable


class SqliteDriver(Driver):
    """A store in one SQLite file, shared by any number of processes of one machine.

    `read_only` opens it for reading only: the file must exist, and every write raises ReadOnly. `lock_timeout_s` is how many
    seconds a write waits for another process before it raises Unavailable.
    """

    transactions = "sync"
    transaction_limit_s = 5.0

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False, lock_timeout_s: float = 10.0) -> None:
        if str(path) in ("", ":memory:"):
            raise StoreError(f"path={str(path)!r}: SQLite stores are files, e.g. sqlite:///orders.db; or use memory://")
        self.path, self.read_only, self.lock_timeout_s = Path(path).absolute(), read_only, lock_timeout_s
        self.url = f"sqlite:///{path}" + ("?mode=ro" if read_only else "")
        self._sessions: tuple[
            ReferenceType[SqliteStore], ...
        ] = ()  # replaced as a whole: engines are opened in several threads

    def connect(self, namespace: str, owner: Owner, now: int) -> Store:  # noqa: ARG002
        """Open a session; a new file gets the schema, an older schema is migrated. All that are open at the same time have one file: else StoreReplaced."""
        there = [(one, session) for one in self._sessions if (session := one()) is not None]
        for _one, session in there:
            session.check_identity()
        database = self._open()
        try:
            session = SqliteStore(database, namespace, owner)
        except BaseException:
            database.close()
            raise
        self._sessions = (*(one for one, _session in there), ref(session))
        return session

    def maintenance(self, namespace: str) -> Maintenance:
        """Open the maintenance port; each of its calls opens its own connections."""
        return SqliteMaintenance(self._open_existing, namespace)

    def migrations(self) -> list[tuple[int, str]]:
        """The SQL scripts of the schema; each script ends with the statement that stores its number."""
        return [(number, f"{script}\n{schema.note(number)};\n") for number, script in schema.migrations()]

    def _open_existing(self) -> SqliteDatabase:
        if not self.path.exists():
            raise Unavailable(f"{self.path} does not exist: check the path, or open an engine to create it")
        return self._open()

    def _open(self) -> SqliteDatabase:
        schema.require_sqlite()
        if not self.path.parent.is_dir():
            raise Unavailable(f"{self.path}: there is no directory {self.path.parent}; create it, or use another path")
        if self.path.is_dir():
            raise Unavailable(f"{self.path} is a directory: name a file in it, e.g. {self.path / 'stepflow.db'}")
        database = SqliteDatabase(self.path, self.lock_timeout_s, read_only=self.read_only)
        try:
            current = database.look(lambda connection: schema.check(connection, self.path))
            if self.read_only:
                return database
            database.use_wal()
            if not current:
                with database.writing() as writer:
                    schema.migrate(writer)
            database.prepare(REVISION)
        except BaseException:
            database.close()
            raise
        return database
