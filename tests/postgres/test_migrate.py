"""The scripts that `stepflow migrate --print` shows make a store by hand."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from stepflow.drivers.postgres import PostgresDriver, schema
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


def test_a_store_that_exists_is_opened_with_few_questions(
    driver: PostgresDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether something is between, the settings, whether there is a store, and what it is; then the lock and the marks. No thread is started."""
    made = Sessions(driver)
    made.session()
    made.close()
    texts: list[str] = []
    execute = psycopg.Cursor.execute

    def recorded(cursor: Any, query: Any, *args: Any, **options: Any) -> Any:
        texts.append(str(query))
        return execute(cursor, query, *args, **options)

    monkeypatch.setattr(psycopg.Cursor, "execute", recorded)
    monkeypatch.setattr(schema, "migrations", lambda: pytest.fail("no script is read"))
    opened = Sessions(PostgresDriver(driver.url))
    before = threading.active_count()
    opened.session()
    assert threading.active_count() == before
    assert (len(texts), sum(".meta" in text for text in texts)) == (8, 1)
    opened.close()
