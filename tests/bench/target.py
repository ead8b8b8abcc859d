"""The store of one sample: the driver that an engine opens, and how a new connection counts what is in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import getpid
from pathlib import Path
from socket import gethostname

from attrs import frozen

from stepflow import MemoryDriver
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.delays import DelayQuery
from stepflow.drivers.port.queries import HistoryQuery
from stepflow.drivers.port.store import Driver, Store
from stepflow.drivers.registry import driver_for
from tests.bench.store import count_rows

ALL = 1 << 60


@frozen
class Target:
    """A store of a kind (sqlite, memory, postgres or rocksdb) at a place: a path, or the URI of a database."""

    store: str
    place: str
    driver: Driver

    def revisions(self, prefix: str = "run-") -> int:
        """The revisions of runs whose ids begin so."""
        return self._rows("history", prefix) if self.store in ("sqlite", "postgres") else len(self._ids(prefix))

    def runs(self, prefix: str = "run-") -> int:
        """The runs whose ids begin so."""
        return self._rows("states", prefix) if self.store in ("sqlite", "postgres") else len(set(self._ids(prefix)))

    def calls(self) -> int:
        """The recorded calls of workflows, in a SQLite or PostgreSQL store."""
        return self._rows("journal", "run-", "run_id")

    def delays(self) -> int:
        """All delays that have not fired."""
        if self.store in ("sqlite", "postgres"):
            return self._rows("delays", "", "run_id")
        with self.session() as store:
            return len(store.read(DelayQuery(ALL, limit=ALL, pending=True)))

    def _rows(self, table: str, prefix: str, column: str = "id") -> int:
        if self.store == "sqlite":
            return count_rows(Path(self.place), f"stepflow_{table}", f"{column} glob '{prefix}*'")
        import psycopg

        with psycopg.connect(self.place) as connection:
            query = f"select count(*) from stepflow.{table} where {column} like '{prefix}%'"
            row = connection.execute(query).fetchone()
            return int(row[0]) if row else 0

    def _ids(self, prefix: str) -> list[str]:
        """The run of every revision."""
        with self.session() as store:
            found = store.read(HistoryQuery(limit=ALL))
        return [revision.state.id for revision in found if revision.state.id.startswith(prefix)]

    @contextmanager
    def session(self, now: int = 0) -> Iterator[Store]:
        """A new session."""
        store = self.driver.connect("", Owner("bench", gethostname(), getpid()), now)
        try:
            yield store
        finally:
            store.close()


def target(store: str, place: str) -> Target:
    """The store of that kind at that place."""
    if store == "memory":
        return Target(store, place, MemoryDriver())
    return Target(store, place, driver_for(place if store == "postgres" else f"{store}:///{place}"))
