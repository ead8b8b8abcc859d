"""URLs, schemas, migrations and refusals: what is wrong is said, and nothing is replaced silently."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from stepflow.drivers.port.commit import Owner
from stepflow.drivers.postgres import PostgresDriver
from stepflow.drivers.postgres.schema import migrations
from stepflow.drivers.registry import driver_for
from stepflow.errors import Full, ReadOnly, SchemaMismatch, StoreError, Unavailable
from stepflow.testing.conformance.kit import NOW, Sessions, claim, creation, make, record, step
from tests.postgres.server import Server

ME = Owner("me", "host", 1)


@pytest.fixture
def opened() -> Iterator[list[Sessions]]:
    found: list[Sessions] = []
    yield found
    for sessions in found:
        sessions.close()


@pytest.mark.parametrize(
    ("option", "what"),
    [
        ("schema=", "schema="),
        ("schema=Upper", "small letters"),
        ("schema=a-b", "small letters"),
        ("schema=pg_x", "pg_"),
        ("schema=information_schema", "backups leave that one out"),
        ("schema=" + "x" * 64, "1 to 63"),
        ("schema=a%22b", "small letters"),
        ("shards=0", "from 1"),
        ("shards=many", "shards='many'"),
        ("shards=1e3", "shards='1e3'"),
        ("connections=1", "from 2"),
        ("pooler=yes", "transaction"),
        ("nonsense=1", "nonsense"),
        ("schema=a&schema=b", "schema= is given 2 times"),
        ("shards=4&shards=4", "give each parameter once"),
        ("sslmode=disable&user=a&sslmode=require", "sslmode= is given 2 times"),
        ("password=a#b", "write %23"),
    ],
)
def test_a_wrong_option_is_named(option: str, what: str) -> None:
    with pytest.raises(StoreError, match=what):
        driver_for(f"postgresql://localhost/db?{option}")


def test_a_password_that_is_cut_off_is_not_shown() -> None:
    with pytest.raises(StoreError, match="write %23") as refused:
        driver_for("postgresql://user:secret#word@localhost/db")
    assert "secret" not in str(refused.value)
    assert "word" not in str(refused.value).replace("password", "")


def test_both_schemes_work_and_others_do_not() -> None:
    assert isinstance(driver_for("postgres://localhost/db"), PostgresDriver)
    assert driver_for("postgresql://localhost/db?schema=mine").url == "postgresql://localhost/db?schema=mine"
    with pytest.raises(StoreError, match="no PostgreSQL URL"):
        PostgresDriver("mysql://localhost/db")


def test_a_url_without_a_host_reaches_the_socket(server: Server) -> None:
    given = conninfo_to_dict(server.uri)
    url = f"postgresql:///{given['dbname']}?host={quote(str(given['host']), safe='')}&user={given['user']}"
    store = driver_for(f"{url}&schema={server.schema()}").connect("", ME, NOW)
    try:
        assert len(make(store, creation("a"))) == 1
    finally:
        store.close()


def test_a_password_is_not_shown() -> None:
    driver = driver_for("postgresql://me:secret%2F1@nowhere.invalid/db?connect_timeout=1&sslpassword=hidden")
    assert "secret" not in driver.url
    assert "hidden" not in driver.url
    with pytest.raises(Unavailable) as caught:
        driver.connect("", ME, NOW)
    assert "secret" not in str(caught.value)


def test_without_psycopg_the_error_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("stepflow.drivers.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"pip install 'stepflow\[postgres\]'"):
        driver_for("postgresql://localhost/db")


def test_the_shard_count_is_fixed_when_the_store_is_made(server: Server, opened: list[Sessions]) -> None:
    schema = server.schema()
    sessions = Sessions(PostgresDriver(server.url(schema, shards=5)))
    opened.append(sessions)
    store = sessions.session()
    make(store, *[creation(f"r{n}") for n in range(20)])
    with pytest.raises(SchemaMismatch, match=r"has 5 shards, shards=2"):
        PostgresDriver(server.url(schema, shards=2)).connect("", ME, NOW)
    again = Sessions(PostgresDriver(server.url(schema)), "late")
    opened.append(again)
    assert list(claim(again.session(), 20)) == [f"r{n}" for n in sorted(range(20), key=str)]


def test_a_newer_schema_is_refused(server: Server) -> None:
    schema = server.schema()
    driver = PostgresDriver(server.url(schema))
    driver.connect("", ME, NOW).close()
    server.execute(f"update {schema}.meta set value = 99 where name = 'schema'")
    with pytest.raises(SchemaMismatch, match="has schema 99"):
        driver.connect("", ME, NOW)
    with pytest.raises(SchemaMismatch, match="nothing was changed"):
        driver.maintenance("").check()


def test_foreign_tables_are_left_alone(server: Server) -> None:
    schema = server.schema()
    server.execute(f"create schema {schema}; create table {schema}.events (theirs text)")
    with pytest.raises(SchemaMismatch, match="tables of something else"):
        PostgresDriver(server.url(schema)).connect("", ME, NOW)
    server.execute(f"insert into {schema}.events values ('still there')")


def test_many_may_make_the_store_at_once(server: Server) -> None:
    driver = PostgresDriver(server.url())
    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(lambda n: driver.connect("", Owner(f"o{n}", "host", 1), NOW), range(6)))
    for store in stores:
        store.close()
    assert driver.maintenance("").check() == []


def test_every_table_key_begins_with_the_shard() -> None:
    (_number, script), *_more = migrations()
    tables = [part for part in script.split("create table ")[1:] if not part.startswith("stepflow.meta")]
    assert len(tables) == 7
    assert all("primary key (shard" in table.partition("\n\n")[0] for table in tables)
    assert "jsonb" not in script


def test_the_same_owner_id_twice_is_refused(server: Server, opened: list[Sessions]) -> None:
    sessions = Sessions(PostgresDriver(server.url()))
    opened.append(sessions)
    sessions.session(owner="same")
    with pytest.raises(Unavailable, match="another engine has the owner id 'same'"):
        sessions.session(owner="same")


def test_a_user_who_may_only_read_gets_read_only(server: Server, opened: list[Sessions]) -> None:
    schema = server.schema()
    url = server.url(schema)
    sessions = Sessions(PostgresDriver(url))
    opened.append(sessions)
    make(sessions.session(), creation("a"))
    server.execute(
        "do $$ begin create role reader login; exception when duplicate_object then null; end $$;"
        f"grant usage on schema {schema} to reader; grant select on all tables in schema {schema} to reader;"
        f"grant select on all sequences in schema {schema} to reader"
    )
    reading = Sessions(PostgresDriver(url.replace("postgres:@", "reader:@")), "reader")
    opened.append(reading)
    store = reading.session()
    assert record(store, "a").state.id == "a"
    with pytest.raises(ReadOnly, match="grant"):
        store.commit([creation("b")], NOW)
    with pytest.raises(ReadOnly, match=r"permission denied for database .*; grant this user CREATE on the database"):
        PostgresDriver(server.url("not_there").replace("postgres:@", "reader:@")).connect("", ME, NOW)


def test_a_read_only_server_gets_read_only(server: Server, opened: list[Sessions]) -> None:
    schema = server.schema()
    sessions = Sessions(PostgresDriver(server.url(schema)))
    opened.append(sessions)
    make(sessions.session(), creation("a"))
    standby = server.url(schema) + "&options=-c%20default_transaction_read_only%3Don"
    reading = Sessions(PostgresDriver(standby), "reader")
    opened.append(reading)
    assert record(reading.session(), "a").state.id == "a"
    with pytest.raises(ReadOnly, match="primary"):
        reading.session().commit([creation("b")], NOW)
    missing = server.url("never_made") + "&options=-c%20default_transaction_read_only%3Don"
    with pytest.raises(ReadOnly, match="primary"):
        PostgresDriver(missing).connect("", ME, NOW)


def test_a_missing_database_is_named(server: Server) -> None:
    url = server.url().replace("/postgres?", "/nowhere?")
    with pytest.raises(Unavailable, match='database "nowhere" does not exist'):
        PostgresDriver(url).connect("", ME, NOW)


def test_another_encoding_is_refused(server: Server) -> None:
    server.execute("drop database if exists latin")
    server.execute("create database latin encoding 'LATIN1' locale 'C' template template0")
    with pytest.raises(StoreError, match="encoding LATIN1"):
        PostgresDriver(server.url().replace("/postgres?", "/latin?")).connect("", ME, NOW)


def test_full_disks_and_dropped_tables_are_told_apart(server: Server, opened: list[Sessions]) -> None:
    schema = server.schema()
    sessions = Sessions(PostgresDriver(server.url(schema)))
    opened.append(sessions)
    store = sessions.session()
    server.execute(
        f"create function {schema}.full() returns trigger language plpgsql as $$"
        " begin raise exception 'could not extend file' using errcode = '53100'; end $$"
    )
    server.execute(f"create trigger full_disk before insert on {schema}.states execute function {schema}.full()")
    with pytest.raises(Full, match="nothing was written"):
        store.commit([creation("a")], NOW)
    server.execute(f"drop trigger full_disk on {schema}.states")
    make(store, creation("a"))
    server.execute(f"alter table {schema}.inbox rename to elsewhere")
    with pytest.raises(SchemaMismatch, match="table is missing"):
        store.load(["a"])
    server.execute(f"alter table {schema}.elsewhere rename to inbox")


def test_two_connections_are_enough(server: Server, opened: list[Sessions]) -> None:
    """A role that may have no third one: everything works, from several threads too."""
    server.execute("create role frugal login connection limit 2")
    server.execute("grant create on database postgres to frugal")
    url = server.url(connections=2).replace("postgres:@", "frugal:@")
    sessions = Sessions(PostgresDriver(url))
    opened.append(sessions)
    store = sessions.session()
    make(store, *[creation(f"r{n}") for n in range(8)])
    held = claim(store)

    def work(run_id: str) -> int:
        rev = make(store, step(held[run_id], held[run_id].row.claim_rev))[0]
        store.beat(NOW)
        store.next_due({"order": "d1"}, NOW)
        return record(store, run_id).state.rev - rev

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, held)) == {0}


def test_behind_a_pooler_of_transactions_no_session_state_is_needed(server: Server, opened: list[Sessions]) -> None:
    schema = server.schema()
    sessions = Sessions(PostgresDriver(server.url(schema, pooler="transaction")))
    opened.append(sessions)
    locks = "select count(*) from pg_locks where locktype = 'advisory' and mode = 'ExclusiveLock'"
    with psycopg.connect(server.uri) as connection:
        before = connection.execute(locks).fetchone()
    one, two = sessions.session(owner="one"), sessions.session(owner="two")
    make(one, *[creation(f"r{n}") for n in range(5)])
    held = claim(one, 3)
    make(one, *[step(found, found.row.claim_rev) for found in held.values()])
    one.beat(NOW)
    assert [peer.lock for peer in two.beat(NOW).peers] == ["unknown"]
    token = two.wait_for_change(0, 0)
    make(one, creation("news"))
    assert two.wait_for_change(token, 10) != token
    with psycopg.connect(server.uri) as connection:
        assert connection.execute(locks).fetchone() == before


def test_one_bad_index_entry_stays_with_its_commit(server: Server, opened: list[Sessions]) -> None:
    sessions = Sessions(PostgresDriver(server.url()))
    opened.append(sessions)
    store = sessions.session()
    bad = creation(random.Random(1).randbytes(4000).hex())
    results = store.commit([creation("a"), bad, creation("b"), creation("c")], NOW)
    assert [type(result).__name__ for result in results] == ["Committed", "TooLarge", "Committed", "Committed"]
    long_label = {"note": "long " * 5000}
    make(store, creation("labelled", labels=long_label))
    assert record(store, "labelled").state.labels == long_label
