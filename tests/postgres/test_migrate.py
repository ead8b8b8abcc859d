"""The scripts that `stepflow migrate --print` shows make a store by hand, the same as the one script for a new store."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
import pytest

from stepflow.drivers.postgres import PostgresDriver, schema
from stepflow.testing.conformance.kit import Sessions, claim, creation, make
from tests.postgres.server import Server

_CLASSES = "pg_class c where c.relnamespace = %(schema)s::regnamespace"
_OF_CLASS = "join pg_class c on c.relnamespace = %(schema)s::regnamespace and c.oid ="
CATALOGS: Mapping[str, str] = {
    "relations": f"select relname, relkind::text, relpersistence::text, relam, reloptions, relacl::text from {_CLASSES}",
    "columns": "select c.relname, attnum, attname, format_type(atttypid, atttypmod), attcollation, attnotnull, attstorage::text,"
    " attcompression::text, attidentity::text, attgenerated::text, attstattarget, attoptions, pg_get_expr(adbin, adrelid)"
    f" from pg_attribute {_OF_CLASS} attrelid left join pg_attrdef on adrelid = attrelid and adnum = attnum where attnum > 0",
    "indexes": f"select pg_get_indexdef(indexrelid), indisprimary, indisvalid, indisclustered from pg_index {_OF_CLASS} indexrelid",
    "constraints": f"select c.relname, conname, contype::text, pg_get_constraintdef(k.oid) from pg_constraint k {_OF_CLASS} conrelid",
    "sequences": "select sequencename, data_type, start_value, min_value, max_value, increment_by, cycle, cache_size"
    " from pg_sequences where schemaname = %(schema)s",
    "statistics": "select tablename, attname, inherited, null_frac, avg_width, n_distinct, correlation"
    " from pg_stats where schemaname = %(schema)s",
    "facts": "select name, value from {schema}.meta where name <> 'store'",
    "comments": f"select c.relname, objsubid, description from pg_description {_OF_CLASS} objoid",
    "functions": "select pg_get_functiondef(oid) from pg_proc where pronamespace = %(schema)s::regnamespace",
    "triggers": f"select pg_get_triggerdef(t.oid) from pg_trigger t {_OF_CLASS} tgrelid",
    "rules": f"select pg_get_ruledef(r.oid) from pg_rewrite r {_OF_CLASS} ev_class",
    "types": "select typname from pg_type where typnamespace = %(schema)s::regnamespace",
    "extended statistics": "select stxname from pg_statistic_ext where stxnamespace = %(schema)s::regnamespace",
}
"""What a schema holds -> the query that lists it."""
NONE = ("comments", "functions", "triggers", "rules", "extended statistics")  # but new ones would be compared


def catalogs(server: Server, schema: str) -> dict[str, Sequence[Any]]:
    """All that the server knows of a schema, without its name."""
    found: dict[str, Sequence[Any]] = {}
    with psycopg.connect(server.uri) as connection:
        for what, query in CATALOGS.items():
            rows = connection.execute(query.replace("{schema}", schema), {"schema": schema}).fetchall()
            found[what] = sorted(str(row).replace(f"{schema}.", "") for row in rows)
    return found


@pytest.mark.parametrize("version", ["server", "older_server"])
def test_a_new_store_is_made_as_all_migrations_together_make_it(request: pytest.FixtureRequest, version: str) -> None:
    server: Server = request.getfixturevalue(version)
    by_hand, at_once = server.schema(), server.schema()
    for _number, script in PostgresDriver(server.url(by_hand)).migrations():
        server.execute(script)
    sessions = Sessions(PostgresDriver(server.url(at_once)))
    sessions.session()
    sessions.close()
    expected, found = catalogs(server, by_hand), catalogs(server, at_once)
    assert [what for what, rows in expected.items() if not rows] == list(NONE)
    for what, rows in expected.items():
        assert found[what] == rows, f"schema.sql and the migrations differ in {what}"


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
    before = set(threading.enumerate())  # those of other tests may end meanwhile
    opened.session()
    assert set(threading.enumerate()) <= before
    assert (len(texts), sum(".meta" in text for text in texts)) == (8, 1)
    opened.close()
