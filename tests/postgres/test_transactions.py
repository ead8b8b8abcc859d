"""The callers' own transactions: psycopg and SQLAlchemy, the right database and the wrong one."""

from __future__ import annotations

import random
from collections.abc import Iterator

import psycopg
import pytest
import sqlalchemy
from sqlalchemy.orm import Session

from stepflow.drivers.port.store import Store
from stepflow.drivers.postgres import PostgresDriver
from stepflow.errors import StoreError
from stepflow.testing.conformance.kit import NOW, Sessions, claim, creation, make, publish, record
from tests.postgres.server import Server


@pytest.fixture
def store(server: Server) -> Iterator[Store]:
    sessions = Sessions(PostgresDriver(server.url()))
    yield sessions.session()
    sessions.close()


@pytest.fixture
def engine(server: Server) -> Iterator[sqlalchemy.Engine]:
    engine = sqlalchemy.create_engine(server.uri.replace("postgresql:", "postgresql+psycopg:"))
    yield engine
    engine.dispose()


def test_a_psycopg_transaction_carries_business_rows_and_starts(server: Server, store: Store) -> None:
    with psycopg.connect(server.uri) as connection:
        connection.execute("create table if not exists orders (id text)")
        connection.execute("insert into orders values ('a')")
        store.post(connection, creation("a"))
        assert store.load(["a"]) == [None]
    assert record(store, "a").state.id == "a"


def test_a_cursor_and_an_autocommit_connection_in_a_transaction_will_do(server: Server, store: Store) -> None:
    with psycopg.connect(server.uri, autocommit=True) as connection:
        with connection.transaction():
            store.post(connection.cursor(), creation("a"))
        with pytest.raises(StoreError, match="no open transaction"):
            store.post(connection, creation("b"))
    with pytest.raises(StoreError, match="tx= is closed"):
        store.post(connection, creation("b"))
    assert set(claim(store)) == {"a"}


def test_a_sqlalchemy_connection(engine: sqlalchemy.Engine, store: Store) -> None:
    with engine.begin() as connection:
        store.post(connection, creation("a", labels={"percent": "100 %s"}))
    with engine.connect() as connection:
        store.post(connection, creation("b"))
        connection.rollback()
    assert [found and found.state.id for found in store.load(["a", "b"])] == ["a", None]


def test_a_sqlalchemy_session(engine: sqlalchemy.Engine, store: Store) -> None:
    make(store, creation("a"))
    with Session(engine) as session:
        store.post(session, publish("a", "paid", "1"))
        session.commit()
        store.post(session, publish("a", "paid", "2"))
        session.rollback()
    assert [event.id for event in record(store, "a").events] == ["1"]


def test_another_database_is_refused_and_its_transaction_goes_on(server: Server, store: Store) -> None:
    server.execute("drop database if exists elsewhere")
    server.execute("create database elsewhere")
    uri = server.uri.replace("/postgres?", "/elsewhere?")
    with psycopg.connect(uri) as connection:
        with pytest.raises(StoreError, match="another database"):
            store.post(connection, creation("a"))
        assert connection.execute("select 1").fetchone() == (1,)
    sessions = Sessions(PostgresDriver(f"{uri}&schema={store._runner.place.schema}"))  # type: ignore[attr-defined]
    sessions.session()
    with psycopg.connect(uri) as connection, pytest.raises(StoreError, match="another database"):
        store.post(connection, creation("a"))
    sessions.close()


def test_what_cannot_be_stored_does_not_stop_the_inbox(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    sessions = Sessions(driver := PostgresDriver(server.url()))
    store = sessions.session()
    with psycopg.connect(server.uri) as connection:
        store.post(connection, creation("first"))
        store.post(connection, creation(random.Random(1).randbytes(4000).hex()))
        store.post(connection, creation("last"))
    assert set(claim(store)) == {"first", "last"}
    assert "cannot take place" in caplog.text
    (conflict,) = driver.maintenance("").conflicts(10)
    assert (len(conflict.run_id), conflict.posted) == (8000, "start")
    sessions.close()


def test_many_posts_are_applied_by_one_of_several_sessions(server: Server) -> None:
    sessions = Sessions(PostgresDriver(server.url()))
    one, two = sessions.session(), sessions.session()
    with psycopg.connect(server.uri) as connection:
        for number in range(1200):
            one.post(connection, creation(f"r{number}", created_at=NOW))
    held = [*claim(one, 700), *claim(two, 700)]
    assert sorted(held) == sorted(f"r{number}" for number in range(1200))
    sessions.close()
