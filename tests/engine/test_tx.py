"""tx=: starting and publishing inside the caller's own transaction on the same SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from stepflow import AsyncEngine, Engine, MemoryDriver, NotFound, RunEnded, RunExists, Status, StoreError, named
from stepflow.cli.app import run as run_command
from tests.engine.flows import Order, chain


@pytest.fixture
def engine(sqlite, clock) -> Iterator[Engine]:
    with Engine(sqlite, clock=clock) as engine:
        yield engine


@pytest.fixture
def business(sqlite, engine) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(sqlite.path)) as connection:
        connection.execute("CREATE TABLE orders (id TEXT PRIMARY KEY)")
        connection.commit()
        yield connection


def count(connection: sqlite3.Connection) -> int:
    found: int = connection.execute("SELECT count(*) FROM orders").fetchone()[0]
    return found


def test_a_commit_brings_the_run_and_the_business_row(engine, business):
    flow = chain("x", "a")
    engine.register(flow)
    with business:
        business.execute("INSERT INTO orders VALUES ('one')")
        run = engine.start(flow, Order(5), id="one", labels={"tenant": "a"}, priority=4, tx=business)
        with pytest.raises(NotFound):
            run.status()
    assert run.info().labels == {"tenant": "a"}
    assert run.status() is Status.QUEUED
    assert engine.run_until_idle().completed == 1
    assert run.result() == Order(5, ["a"])
    assert count(business) == 1


def test_a_deferred_transaction_waits_for_its_turn_before_it_reads(engine, sqlite):
    """SQLite fails a transaction that read, and writes after another one has committed, at once."""
    flow = named("x", Order).wait_event("w", "paid", int, lambda o, p: o.log.append(str(p))).compile()
    engine.register(flow)
    with closing(sqlite3.connect(sqlite.path, isolation_level=None, timeout=0)) as other:
        other.execute("CREATE TABLE others (id INTEGER)")

        class Crowded(sqlite3.Connection):
            def execute(self, *statement: Any) -> sqlite3.Cursor:
                found = super().execute(*statement)
                with suppress(sqlite3.OperationalError):  # it is locked out
                    other.execute("INSERT INTO others VALUES (1)")
                return found

        with closing(sqlite3.connect(sqlite.path, factory=Crowded, isolation_level=None)) as tx:
            tx.execute("BEGIN")
            run = engine.start(flow, Order(), tx=tx)
            run.publish("paid", 1, tx=tx)
            tx.execute("COMMIT")
    engine.run_until_idle()
    assert run.result().log == ["1"]


def test_a_rollback_brings_neither(engine, business):
    flow = chain("x", "a")
    engine.register(flow)
    business.execute("INSERT INTO orders VALUES ('one')")
    run = engine.start(flow, Order(), id="one", tx=business)
    business.rollback()
    assert engine.run_until_idle().completed == 0
    with pytest.raises(NotFound):
        run.status()
    assert count(business) == 0
    assert engine.start(flow, Order(99), id="one").status() is Status.QUEUED  # the id is free


def test_a_publish_happens_with_the_commit(engine, business):
    flow = named("x", Order).wait_event("w", "paid", int, lambda o, p: o.log.append(str(p))).compile()
    engine.register(flow)
    run = engine.start(flow, Order(), id="one")
    engine.run_until_idle()
    business.execute("INSERT INTO orders VALUES ('one')")
    run.publish("paid", 1, id="evt", tx=business)
    engine.get("one").publish("paid", 2, id="evt", tx=business)
    business.rollback()
    engine.run_until_idle()
    assert run.status() is Status.WAITING
    business.execute("INSERT INTO orders VALUES ('one')")
    run.publish("paid", 3, id="evt", tx=business)
    assert run.status() is Status.WAITING
    business.commit()
    assert engine.run_until_idle().completed == 1
    assert run.result().log == ["3"]


def test_start_and_publish_in_one_transaction(engine, business):
    flow = named("x", Order).wait_event("w", "paid", int, lambda o, p: o.log.append(str(p))).compile()
    engine.register(flow)
    with business:
        business.execute("INSERT INTO orders VALUES ('one')")
        run = engine.start(flow, Order(), tx=business)
        run.publish("paid", 3, tx=business)
    assert engine.run_until_idle().completed == 1


def test_an_id_that_exists_with_another_input_is_refused_before_anything_is_written(engine, business):
    flow = chain("x", "a")
    engine.register(flow)
    engine.start(flow, Order(1), id="one")
    with pytest.raises(RunExists, match="another input"), business:  # noqa: PT012 - the row must go with the refusal
        business.execute("INSERT INTO orders VALUES ('one')")
        engine.start(flow, Order(2), id="one", tx=business)
    assert count(business) == 0
    with business:
        business.execute("INSERT INTO orders VALUES ('one')")
        assert engine.start(flow, Order(1), id="one", tx=business).id == "one"
    assert engine.run_until_idle().completed == 1
    assert engine.get(flow, "one").result() == Order(1, ["a"])


def test_an_id_that_the_transaction_started_with_another_input_is_refused(engine, business, sqlite):
    flow, other = chain("x", "a"), chain("y", "a")
    engine.register(flow, other)
    with business:
        business.execute("INSERT INTO orders VALUES ('one')")
        engine.start(flow, Order(1), id='o"ne', tx=business)
        for again in (flow, other):
            with pytest.raises(RunExists, match="was started before with"):
                engine.start(again, Order(2), id='o"ne', tx=business)
        with pytest.raises(RunExists, match="another input"):
            engine.start_many(flow, [("two", Order(2)), ('o"ne', Order(2))], tx=business)
        assert engine.start(flow, Order(1), id='o"ne', tx=business).id == 'o"ne'
        assert len(engine.start_many(flow, [("three", Order(2)), ('o"ne', Order(1))], tx=business)) == 2
        assert business.execute("SELECT count(*) FROM stepflow_inbox").fetchone() == (3,)
        business.execute("SAVEPOINT s")
        engine.start(flow, Order(4), id="four", tx=business)
        business.execute("ROLLBACK TO s")
        engine.start(flow, Order(5), id="four", tx=business)
    with closing(sqlite3.connect(sqlite.path)) as second, pytest.raises(RunExists, match="another input"), second:  # noqa: PT012 - what was committed, and nobody has applied yet
        second.execute("INSERT INTO orders VALUES ('two')")
        engine.start(flow, Order(6), id="four", tx=second)
    assert engine.run_until_idle().completed == 4
    assert [engine.get(flow, name).result() for name in ('o"ne', "four")] == [Order(1, ["a"]), Order(5, ["a"])]


def test_a_start_that_lost_against_another_one_is_logged(engine, business, clock, sqlite, caplog, capsys):
    flow = chain("x", "a")
    engine.register(flow)
    with business:
        engine.start(flow, Order(1), id="one", tx=business)
        engine.start(flow, Order(1), id="one", tx=business)
        engine.start(
            flow, Order(2), id="two", tx=business
        )  # made one of the same id, which no transaction posts that sees the first
        business.execute("UPDATE stepflow_inbox SET body = replace(body, '\"two\"', '\"one\"')")
    assert engine.run_until_idle().completed == 1
    assert engine.get(flow, "one").result() == Order(1, ["a"])
    (record,) = [record for record in caplog.records if hasattr(record, "run_id")]
    assert (record.event, record.run_id, record.levelname) == ("conflict", "one", "ERROR")
    assert run_command(["doctor", "--json", "--store", sqlite.url]) == 3
    assert "a start of run one could not take place: a run of this id was started before" in capsys.readouterr().out


def test_a_cancel_happens_with_the_commit(engine, business):
    flow = chain("x", "a")
    engine.register(flow)
    old, done = engine.start(flow, Order(), id="old"), engine.start(flow, Order(), id="done")
    done.cancel()
    business.execute("INSERT INTO orders VALUES ('one')")
    old.cancel(tx=business)
    done.cancel(tx=business)
    assert (old.info(tx=business).status, old.status()) == (Status.CANCELLED, Status.QUEUED)
    business.rollback()
    assert (old.info().status, old.info(tx=business).status) == (Status.QUEUED, Status.QUEUED)
    with business:
        new = engine.start(flow, Order(), id="new", tx=business)
        assert (new.info(tx=business).rev, new.info(tx=business).status) == (0, Status.QUEUED)
        new.cancel(tx=business)
        old.cancel(tx=business)
        with pytest.raises(NotFound):
            engine.get("nobody").cancel(tx=business)
    assert (new.status(), old.status()) == (Status.CANCELLED, Status.CANCELLED)
    engine.start(flow, Order(), id="ended")
    engine.run_until_idle()
    with business, pytest.raises(RunEnded):
        engine.get("ended").cancel(tx=business)


def test_a_run_of_a_paused_flow_is_paused_in_the_transaction_too(engine, business):
    flow, free = chain("x", "a"), chain("y", "a")
    engine.register(flow, free)
    old = engine.start(flow, Order(), id="old")
    engine.pause_flow(flow)
    with business:
        new, other = (engine.start(one, Order(), id=f"new {one.name}", tx=business) for one in (flow, free))
        infos = [run.info(tx=business) for run in (old, new, other)]
        assert [info.status for info in infos] == [Status.PAUSED, Status.PAUSED, Status.QUEUED]
        new.cancel(tx=business)
        assert new.info(tx=business).status is Status.CANCELLED
    assert [run.status() for run in (old, new, other)] == [Status.PAUSED, Status.CANCELLED, Status.QUEUED]
    engine.resume_flow(flow)
    with business:
        assert old.info(tx=business).status is Status.QUEUED


def test_what_is_read_beside_a_transaction_is_read_in_the_thread_of_its_connection(sqlite):
    flow = chain("x", "a")
    with Engine(sqlite) as engine, closing(sqlite3.connect(sqlite.path)) as connection:
        engine.register(flow)
        engine.pause_flow(flow)
        with connection:
            assert engine.start(flow, Order(), id="new", tx=connection).info(tx=connection).status is Status.PAUSED


def test_a_held_run_learns_of_a_cancel_that_was_committed(engine, business):
    seen = []
    flow = named("x", Order).do("a", lambda _order: seen.append(cancel())).do("b", lambda _order: None).compile()

    def cancel():
        with business:
            engine.get("one").cancel(tx=business)
        return engine.get("one").info().cancel_requested

    engine.register(flow)
    run = engine.start(flow, Order(), id="one")
    engine.run_until_idle()
    assert (run.status(), seen) == (Status.CANCELLED, [True])


def test_many_starts_in_one_transaction(engine, business):
    flow = chain("x", "a")
    engine.register(flow)
    engine.start_many(flow, [("a", Order()), (None, Order())], tx=business)
    business.rollback()
    assert engine.runs() == []
    with business:
        runs = engine.start_many(flow, [("a", Order(1)), ("b", Order(2))], labels={"k": "v"}, tx=business)
    assert [run.info().labels for run in runs] == [{"k": "v"}, {"k": "v"}]
    with pytest.raises(RunExists), business:
        engine.start_many(flow, [("c", Order(3)), ("b", Order(3))], tx=business)
    with pytest.raises(RunExists):
        engine.start_many(flow, [("d", Order(4)), ("e", Order(4)), ("d", Order(5))], tx=business)
    engine.start_many(flow, [("f", Order(6)), ("f", Order(6))], tx=business)
    business.commit()
    assert sorted(run.id for run in engine.runs()) == ["a", "b", "f"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3.connect(autocommit=) exists from Python 3.12 on")
def test_an_autocommit_connection_is_refused_until_a_transaction_is_open(engine, sqlite):
    flow = chain("x", "a")
    with closing(sqlite3.connect(sqlite.path, autocommit=True)) as tx:
        with pytest.raises(StoreError, match="no open transaction"):
            engine.start(flow, Order(), id="one", tx=tx)
        tx.execute("BEGIN")
        engine.start(flow, Order(), id="one", tx=tx)
        tx.execute("ROLLBACK")
    assert engine.runs() == []
    with closing(sqlite3.connect(sqlite.path, autocommit=False)) as tx:
        engine.start(flow, Order(), id="two", tx=tx)
        tx.commit()
    assert [run.id for run in engine.runs()] == ["two"]


def test_sqlalchemys_async_connections_and_sessions_are_taken(sqlite):
    flow = chain("x", "a")

    async def go() -> list[str]:
        database = create_async_engine(f"sqlite+aiosqlite:///{sqlite.path}")
        async with AsyncEngine(sqlite) as engine:
            engine.register(flow)
            async with database.begin() as tx:
                await engine.start(flow, Order(), id="one", tx=tx)
            async with AsyncSession(database) as session:
                await engine.start(flow, Order(), id="two", tx=session)
                await engine.get("one").publish("e", tx=session)
                await session.rollback()
                await engine.start_many(flow, [("three", Order())], tx=session)
                await session.commit()
            await database.dispose()
            await engine.run_until_idle()
            return sorted(run.id for run in await engine.runs(status="completed"))

    assert asyncio.run(go()) == ["one", "three"]


def test_a_blocking_engine_refuses_an_asynchronous_connection(engine):
    flow, tx = chain("x", "a"), AsyncSession()
    refused = pytest.raises(TypeError, match=r"^tx=<.*> is asynchronous, .*: use AsyncEngine")
    with refused:
        engine.start(flow, Order(), tx=tx)
    with refused:
        engine.start_many(flow, [(None, Order())], tx=tx)
    with refused:
        engine.get("one").publish("paid", tx=tx)
    assert engine.runs() == []


def test_at_is_kept(engine, business, clock):
    flow = chain("x", "a")
    engine.register(flow)
    with business:
        business.execute("INSERT INTO orders VALUES ('one')")
        run = engine.start(flow, Order(), at=clock.datetime() + timedelta(hours=1), tx=business)
    assert engine.run_until_idle().completed == 0
    assert run.status() is Status.SLEEPING
    assert engine.run_until_idle(advance=True).completed == 1


def test_the_async_engine_takes_it_too(sqlite, business):
    flow = chain("x", "a")

    async def go() -> Any:
        async with AsyncEngine(sqlite) as engine:
            engine.register(flow)
            business.execute("INSERT INTO orders VALUES ('one')")
            run = await engine.start(flow, Order(), id="one", tx=business)
            await run.publish("nobody waits", tx=business)
            business.commit()
            await engine.run_until_idle()
            return await run.result()

    assert asyncio.run(go()) == Order(1, ["a"])


def test_a_working_engine_notices_the_commit_of_another_connection(sqlite, business):
    flow = chain("x", "a")
    with Engine(sqlite) as engine:
        engine.register(flow)
        with engine.worker():
            with business:
                business.execute("INSERT INTO orders VALUES ('one')")
                run = engine.start(flow, Order(), tx=business)
            assert run.result(timeout=60) == Order(1, ["a"])


@pytest.mark.parametrize("tx", ["orders.db", 5, object()])
def test_something_else_is_refused(engine, tx):
    with pytest.raises(StoreError, match=r"is no connection to SQLite .*: give a sqlite3\.Connection"):
        engine.start(chain("x", "a"), Order(), tx=tx)
    with pytest.raises(StoreError, match="is no connection to SQLite"):
        engine.get("one").publish("paid", tx=tx)
    assert engine.runs() == []


def test_another_file_is_refused(engine, tmp_path):
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE orders (id TEXT)")
        with pytest.raises(StoreError, match="both must be one file"):
            engine.start(chain("x", "a"), Order(), tx=other)


def test_memory_has_no_transactions(clock):
    connection = closing(sqlite3.connect(":memory:"))
    refused = pytest.raises(StoreError, match="use a sqlite:// store")
    with Engine(MemoryDriver(), clock=clock) as engine, connection as tx, refused:
        engine.start(chain("x", "a"), Order(), tx=tx)


def test_a_savepoint_takes_back_what_was_posted_in_it_and_a_failed_statement_nothing(engine, business):
    flow = chain("x", "a")
    engine.register(flow)
    with business:
        business.execute("INSERT INTO orders VALUES ('one')")
        engine.start(flow, Order(), id="one", tx=business)
        with pytest.raises(sqlite3.IntegrityError):
            business.execute("INSERT INTO orders VALUES ('one')")
        engine.start(flow, Order(), id="two", tx=business)
        business.execute("SAVEPOINT mine")
        engine.start(flow, Order(), id="taken back", tx=business)
        engine.get("one").cancel(tx=business)
        business.execute("ROLLBACK TO mine")
        with pytest.raises(NotFound):
            engine.get("nobody").cancel(tx=business)
        engine.start(flow, Order(), id="three", tx=business)
    assert engine.run_until_idle().completed == 3
    assert sorted(run.id for run in engine.runs()) == ["one", "three", "two"]
    assert count(business) == 1
