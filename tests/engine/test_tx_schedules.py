"""tx=: schedules are made, changed, triggered and deleted inside the caller's own transaction on the same SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from cryptography.fernet import Fernet as Key
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from stepflow import AsyncEngine, Engine, Fernet, MemoryDriver, NotFound, StoreError, Zlib, named
from stepflow.cli.app import run as run_command
from stepflow.testing import VirtualClock

HOUR = timedelta(hours=1)
FLOW = named("x", dict[str, int]).do("a", lambda _d: None).compile()


@pytest.fixture(params=["plain", "encrypted"])
def engine(sqlite, clock, request) -> Iterator[Engine]:
    payload = [Zlib(over=1), Fernet([Key.generate_key()])] if request.param == "encrypted" else []
    with Engine(sqlite, clock=clock, payload=payload) as engine:
        engine.register(FLOW)
        yield engine


@pytest.fixture
def tx(sqlite, engine) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(sqlite.path)) as connection:
        yield connection


def ids(engine: Engine) -> list[str]:
    return sorted(run.id for run in engine.runs())


def test_a_schedule_is_made_with_the_commit(engine, tx, clock):
    with tx:
        schedule = engine.schedule("hourly", FLOW, {"n": 1}, every=HOUR, labels={"k": "v"}, tx=tx)
        with pytest.raises(NotFound):
            schedule.info()
    info = schedule.info()
    assert (info.next, info.labels) == (clock.datetime() + HOUR, {"k": "v"})
    clock.advance(HOUR)
    engine.run_until_idle()
    (run,) = schedule.runs()
    assert run.id == f"hourly@{clock.datetime():%Y-%m-%dT%H:%M:%SZ}"
    assert engine.get(FLOW, run.id).result() == {"n": 1}


def test_a_rollback_changes_nothing(engine, tx):
    there = engine.schedule("there", FLOW, {}, every=HOUR)
    before = there.info()
    engine.schedule("there", FLOW, {}, every=2 * HOUR, tx=tx)
    engine.schedule("new", FLOW, {}, every=HOUR, tx=tx)
    there.pause(tx=tx)
    there.trigger(tx=tx)
    there.delete(tx=tx)
    tx.rollback()
    engine.run_until_idle()
    assert engine.schedules() == [before]
    assert ids(engine) == []


def test_a_pause_takes_place_although_the_schedule_fired_meanwhile(engine, tx, clock, sqlite):
    schedule = engine.schedule("hourly", FLOW, {}, every=HOUR)
    clock.advance(HOUR)
    with tx:
        schedule.pause(tx=tx)  # of the record as it was before the tick
        tx.rollback()
        engine.run_until_idle()
        schedule.pause(tx=tx)
    first = ids(engine)
    assert len(first) == 1
    assert schedule.info().paused
    clock.advance(10 * HOUR)
    engine.run_until_idle()
    assert ids(engine) == first
    with tx:
        schedule.resume(tx=tx)
    assert schedule.info().next == clock.datetime() + HOUR
    engine.run_until_idle()
    clock.advance(HOUR)
    engine.run_until_idle()
    assert len(ids(engine)) == 2


def test_a_pause_that_was_posted_before_a_tick_fires_keeps_its_place(engine, tx, clock):
    """The worker that looks at the schedule next finds it paused, and its record is stored so."""
    schedule = engine.schedule("hourly", FLOW, {}, every=HOUR)
    clock.advance(HOUR)
    with tx:
        schedule.pause(tx=tx)
    assert engine.run_until_idle().completed == 0
    assert ids(engine) == []
    assert engine.run_until_idle().next_due is None
    assert tx.execute("SELECT due FROM stepflow_schedules").fetchall() == [(None,)]


def test_an_upsert_keeps_a_pause_and_the_next_tick(engine, tx, clock):
    schedule = engine.schedule("s", FLOW, {}, cron="0 * * * *")
    schedule.pause()
    next_tick = clock.datetime() + HOUR
    clock.advance(timedelta(minutes=30))
    with tx:
        engine.schedule("s", FLOW, {"n": 2}, cron="0 * * * *", priority=3, tx=tx)
    assert (schedule.info().paused, schedule.info().priority) == (True, 3)
    with tx:
        schedule.resume(tx=tx)
    assert schedule.info().next == next_tick
    with tx:
        engine.schedule("s", FLOW, {"n": 2}, cron="15 * * * *", tx=tx)
    assert schedule.info().next == next_tick + timedelta(minutes=15)


def test_several_changes_of_one_transaction_take_place_in_order(engine, tx):
    with tx:
        schedule = engine.schedule("s", FLOW, {"n": 5}, every=HOUR, tx=tx)
        schedule.pause(tx=tx)
        run = schedule.trigger(tx=tx)
        gone = engine.schedule("gone", FLOW, {}, every=HOUR, tx=tx)
        gone.delete(tx=tx)
        with pytest.raises(NotFound, match="there is no schedule 'gone'"):
            gone.pause(tx=tx)
        gone = engine.schedule("gone", FLOW, {}, every=HOUR, tx=tx)
        gone.delete(tx=tx)
    (info,) = engine.schedules()
    assert (info.id, info.paused, info.active) == ("s", True, (run.id,))
    assert engine.run_until_idle().completed == 1
    assert run.result() == {"n": 5}
    assert [one.id for one in schedule.runs()] == [run.id]


@pytest.mark.parametrize("verbs", [("pause", "resume"), ("resume", "pause")])
@pytest.mark.parametrize("together", [True, False], ids=["one transaction", "two transactions"])
def test_the_later_of_two_changes_of_one_schedule_holds(engine, tx, verbs, together):
    schedule = engine.schedule("s", FLOW, {"n": 0}, every=HOUR)
    for n, verb in enumerate(verbs, 1):
        getattr(schedule, verb)(tx=tx)
        engine.schedule("s", FLOW, {"n": n}, every=n * HOUR, tx=tx)
        if not together:
            tx.commit()
    tx.commit()
    assert (schedule.info().paused, schedule.info().timing) == (verbs[-1] == "pause", "every 2:00:00")
    with tx:
        getattr(schedule, verbs[0])(tx=tx)
    getattr(schedule, verbs[1])()  # without a transaction, before a worker has looked
    assert schedule.info().paused == (verbs[-1] == "pause")


def test_a_change_without_a_schedule_is_refused_before_anything_is_written(engine, tx):
    schedule = engine.get_schedule("nope")
    for verb in (schedule.pause, schedule.resume, schedule.trigger, schedule.delete):
        with pytest.raises(NotFound, match="there is no schedule 'nope'"):
            verb(tx=tx)
    assert tx.execute("SELECT count(*) FROM stepflow_inbox").fetchone() == (0,)


def test_a_change_of_a_schedule_that_was_deleted_meanwhile_is_a_conflict(engine, sqlite, tmp_path, caplog, capsys):
    schedule = engine.schedule("s", FLOW, {}, every=HOUR)
    with closing(sqlite3.connect(sqlite.path)) as first, closing(sqlite3.connect(sqlite.path)) as second:
        schedule.delete(tx=first)
        first.commit()
        with pytest.raises(NotFound):
            schedule.pause(tx=second)  # it sees the commit, although that was not applied yet
        second.execute("INSERT INTO stepflow_inbox (shard, body) SELECT shard, ? FROM stepflow_inbox", (PAUSE,))
        second.commit()
    engine.run_until_idle()
    assert engine.schedules() == []
    assert "schedule s: a change was committed with a transaction, but cannot take place" in caplog.text
    assert run_command(["doctor", "--store", sqlite.url]) == 3
    assert "there is no schedule 's'" in capsys.readouterr().out


PAUSE = '{"writes": [], "queue": [], "publish": [], "cancel": [], "edit": ["s", 1, "{\\"verb\\":\\"pause\\",\\"at\\":1}", "refuse"]}'


def test_a_worker_of_another_process_takes_the_change_over(sqlite, clock, tmp_path):
    with Engine(sqlite, clock=clock) as client, Engine(sqlite, clock=clock) as worker:
        worker.register(FLOW)
        with closing(sqlite3.connect(sqlite.path)) as tx, tx:
            client.schedule("s", FLOW, {"n": 1}, every=HOUR, tx=tx)
        clock.advance(HOUR)
        assert worker.run_until_idle().completed == 1
        assert client.schedules()[0].last == clock.datetime()


def test_the_key_of_a_change_may_be_elsewhere(sqlite, clock):
    """A worker without the key leaves the schedule alone; one with it goes on."""
    key = Key.generate_key()
    with Engine(sqlite, clock=clock, payload=[Fernet([key])]) as engine, Engine(sqlite, clock=clock) as stranger:
        engine.register(FLOW)
        schedule = engine.schedule("s", FLOW, {"n": 1}, every=HOUR)
        with closing(sqlite3.connect(sqlite.path)) as tx, tx:
            schedule.pause(tx=tx)
            schedule.resume(tx=tx)
        stranger.run_until_idle()
        assert [bool(one.unreadable) for one in stranger.schedules()] == [True]
        clock.advance(2 * HOUR)
        assert engine.run_until_idle().completed == 1
        assert b"verb" not in Path(sqlite.path).read_bytes()


@pytest.mark.parametrize("kind", ["connection", "session"])
def test_sqlalchemys_connections_are_taken(engine, sqlite, kind):
    database = sqlalchemy.create_engine(f"sqlite:///{sqlite.path}")
    with Session(database) if kind == "session" else database.connect() as tx:
        tx.execute(sqlalchemy.text("CREATE TABLE orders (id TEXT)"))
        engine.schedule("s", FLOW, {}, every=HOUR, tx=tx).pause(tx=tx)
        tx.commit()
        engine.get_schedule("s").delete(tx=tx)
        tx.rollback()
    database.dispose()
    assert [(one.id, one.paused) for one in engine.schedules()] == [("s", True)]


@pytest.mark.parametrize("kind", ["connection", "session"])
def test_sqlalchemys_async_connections_are_taken(sqlite, kind):
    async def go() -> Any:
        database = create_async_engine(f"sqlite+aiosqlite:///{sqlite.path}")
        async with AsyncEngine(sqlite) as engine:
            async with AsyncSession(database) if kind == "session" else database.connect() as tx:
                await tx.execute(sqlalchemy.text("CREATE TABLE orders (id TEXT)"))
                await (await engine.schedule("s", FLOW, {}, every=HOUR, tx=tx)).pause(tx=tx)
                await tx.commit()
                await engine.get_schedule("s").delete(tx=tx)
                await tx.rollback()
            found = await engine.schedules()
        await database.dispose()
        return found

    assert [(one.id, one.paused) for one in asyncio.run(go())] == [("s", True)]


def test_memory_has_no_transactions():
    with Engine(MemoryDriver(), clock=VirtualClock()) as engine:
        with pytest.raises(StoreError, match="tx="):
            engine.schedule("s", FLOW, {}, every=HOUR, tx=object())
        with pytest.raises(StoreError, match="tx="):
            engine.get_schedule("s").pause(tx=object())
