"""PostgresDriver: opens sessions on one schema of a PostgreSQL database."""

from __future__ import annotations

import psycopg

from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.store import Driver, Maintenance, Store
from stepflow.drivers.postgres import schema
from stepflow.drivers.postgres.connector import Connection, Connector
from stepflow.drivers.postgres.errors import translate
from stepflow.drivers.postgres.maintenance import PostgresMaintenance
from stepflow.drivers.postgres.route import Route
from stepflow.drivers.postgres.rows import Shards
from stepflow.drivers.postgres.session import PostgresStore
from stepflow.drivers.postgres.transactions import Pool, TransactionRunner
from stepflow.drivers.postgres.url import target_of
from stepflow.drivers.postgres.user_transaction import users_connector


class PostgresDriver(Driver):
    """A store in one schema of a PostgreSQL database, for any number of processes and machines.

    The URL is that of libpq, with these options besides its own: `schema` (default `stepflow`), `shards` (when the store
    is made; default 1), `connections` per engine (at least 2, default 4; as many more for functions that get one) and `pooler=transaction` or `session`, which
    is found out if it is left out. Raises StoreError where an option is not understood.
    """

    transactions = "async"

    def __init__(self, url: str) -> None:
        self._place = target_of(url)
        self._route = Route()
        Connector(self._place, self._route)  # what the client library does not understand is told at once
        self.url = self._place.url

    def connect(self, namespace: str, owner: Owner, now: int) -> Store:  # noqa: ARG002
        """Open a session; the schema is made or migrated if needed, under a lock."""
        connector = Connector(self._place, self._route)
        runner = TransactionRunner(connector, self._place.connections - 1)
        runner.pool.adopt(connector.first())
        try:
            shards, store = runner.run(self._prepare)
            users = Pool(users_connector(self._place, self._route), self._place.connections)
            return PostgresStore(runner, connector, users, Shards(namespace, shards), owner, store)
        except BaseException as error:
            runner.pool.close()
            if isinstance(error, psycopg.Error):
                raise translate(error, self.url) from error
            raise

    def _prepare(self, connection: Connection) -> tuple[int, int]:
        """The number of shards and the number of the store."""
        return schema.prepare(connection, self._place), schema.store_id(connection, self._place)

    def maintenance(self, namespace: str) -> Maintenance:
        """Open the maintenance port; each of its calls uses a connection of its own."""
        return PostgresMaintenance(self._place, self._route, namespace)

    def migrations(self) -> list[tuple[int, str]]:
        """The SQL that makes this store's schema, each script with the note of its number."""
        return schema.scripts(self._place)
