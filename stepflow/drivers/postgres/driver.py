"""PostgresDriver: opens sessions on one schema of a PostgreSQL database."""

from __future__ import annotations

import psycopg
from attrs import evolve

from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.store import Driver, Maintenance, Store
from stepflow.drivers.postgres import citus, schema
from stepflow.drivers.postgres.connector import Connector
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
            facts = runner.run(lambda connection: schema.prepare(connection, self._place))
            if facts.citus:
                runner.pool.close()
                place = evolve(self._place, citus=True)
                connector = Connector(place, self._route)
                runner = TransactionRunner(connector, place.connections - 1)
            users = Pool(users_connector(connector.place, self._route), self._place.connections)
            return PostgresStore(runner, connector, users, Shards(namespace, facts.shards), owner, facts.store)
        except BaseException as error:
            runner.pool.close()
            if isinstance(error, psycopg.Error):
                raise translate(error, self.url) from error
            raise

    def maintenance(self, namespace: str) -> Maintenance:
        """Open the maintenance port; each of its calls uses a connection of its own."""
        return PostgresMaintenance(self._place, self._route, namespace)

    def migrations(self) -> list[tuple[int, str]]:
        """The SQL that makes this store's schema, each script with the note of its number."""
        return schema.scripts(self._place)

    def distribution(self) -> str:
        return "".join(f"{statement};\n" for statement in citus.distribution(self._place))

    def distribute(self) -> None:
        place = self._place
        with Connector(place, self._route).first() as connection:
            try:
                schema.prepare(connection, place)
                citus.distribute(connection, place)
            except psycopg.Error as error:
                raise translate(error, self.url) from error
