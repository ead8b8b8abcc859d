"""The scripts that `stepflow migrate --print` shows make a store by hand."""

from __future__ import annotations

import psycopg

from stepflow.drivers.postgres import PostgresDriver
from stepflow.testing.conformance.kit import Sessions, claim, creation, make
from tests.postgres.server import Server


def test_a_store_that_was_made_by_hand_needs_no_rights_to_make_tables(server: Server) -> None:
    schema = server.schema()
    driver = PostgresDriver(server.url(schema, shards=2))
    for _number, script in driver.migrations():
        server.execute(script)
    server.execute(f"create role hand_{schema} login")
    server.execute(f"grant usage on schema {schema} to hand_{schema}")
    server.execute(f"grant select, insert, update, delete on all tables in schema {schema} to hand_{schema}")
    server.execute(f"grant usage, select on all sequences in schema {schema} to hand_{schema}")
    sessions = Sessions(PostgresDriver(server.url(schema).replace("//postgres:@", f"//hand_{schema}@")))
    store = sessions.session()
    make(store, creation("a"), creation("b"))
    assert set(claim(store)) == {"a", "b"}
    sessions.close()
    with psycopg.connect(server.uri) as connection:
        meta = connection.execute(f"select name, value from {schema}.meta where name <> 'store' order by name")
        assert dict(meta.fetchall())["shards"] == 2
    assert driver.maintenance("").check() == []
