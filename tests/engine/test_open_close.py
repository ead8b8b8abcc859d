"""open() and close() beside `with`, at exit too, and the blocking engine in threads where an event loop runs."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest

from stepflow import AsyncEngine, Engine, Status, StepflowError, named
from stepflow.drivers.sqlite import database
from tests.engine.flows import Order, chain


def test_an_engine_is_opened_and_closed_without_with(store, clock):
    engine = Engine(store, clock=clock).open()
    flow = chain("x", "a")
    engine.register(flow)
    run = engine.start(flow, Order())
    assert engine.run_until_idle().completed == 1
    assert run.status() is Status.COMPLETED
    engine.close()
    engine.close()
    with pytest.raises(StepflowError, match="engine is closed"):
        engine.runs()
    assert len(engine.open().runs()) == 1
    engine.close()


def test_a_close_inside_of_a_worker_ends_the_worker(store, clock):
    flow = named("x.v1", dict).do("a", lambda order: order.update(a=1)).compile()
    engine = Engine(store, clock=clock).open()
    engine.register(flow)
    with engine.worker():
        engine.close()
    engine.open()
    with pytest.raises(ValueError, match="of the block"), engine.worker():
        close_and_fail(engine)


def close_and_fail(engine):
    engine.close()
    raise ValueError("of the block")


def test_opening_twice_is_refused_and_the_first_session_stays(store, clock):
    engine = Engine(store, clock=clock).open()
    with closing(engine):
        with pytest.raises(StepflowError, match="open already"):
            engine.open()
        assert engine.runs() == []


def test_the_async_engine_too(store, clock):
    async def main() -> None:
        engine = await AsyncEngine(store, clock=clock).open()
        assert await engine.runs() == []
        await engine.close()
        await engine.close()
        with pytest.raises(StepflowError, match="engine is closed"):
            await engine.runs()

    asyncio.run(main())


EXIT = """
import sys, threading
from stepflow import Engine, named

flow = named("x", dict).do("a", lambda d: None).compile()
engine = Engine(sys.argv[1]).open()
engine.register(flow)
threading.Thread(target=engine.run_forever, daemon=True).start()
print(engine.start(flow, {}, id="one").result(timeout=60))
"""


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)"])
def test_an_engine_that_is_left_open_is_closed_at_exit(sqlite, end):
    done = subprocess.run(
        [sys.executable, "-c", EXIT + end, sqlite.url], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "{}\n", "")
    with closing(sqlite3.connect(sqlite.path)) as db:
        assert db.execute("SELECT count(*) FROM stepflow_owners").fetchone() == (0,)  # it left as it should


def test_every_verb_works_in_a_thread_where_a_loop_runs(store, sqlite):
    """As in a notebook, or in an async handler that calls the blocking engine."""
    flow = named("x", Order).wait_event("w", "e", int, lambda order, n: order.log.append(str(n))).compile()

    async def cell() -> None:
        with Engine(store) as engine:
            engine.register(flow)
            engine.start(flow, Order(), id="one")
            assert [run.id for run in engine.start_many(flow, [("two", Order())])] == ["two"]
            run = engine.get(flow, "one")
            engine.run_until_idle()
            assert run.status() is Status.WAITING
            run.publish("e", 1)
            engine.get("two").cancel()
            engine.run_until_idle()
            assert run.result(timeout=60).log == ["1"]
            assert (len(engine.runs()), len(run.history())) == (2, 2)
            assert "completed" in run.explain()
            assert engine.tally() == {"x": {"completed": 1, "cancelled": 1}}
            assert engine.health().ok
            assert engine.watch(since=0).next(timeout=60) is not None
            assert len(engine.states().states) > 0

    asyncio.run(cell())


def test_a_transaction_of_the_caller_works_where_a_loop_runs(sqlite):
    flow = chain("x", "a")

    async def cell() -> None:
        with Engine(sqlite) as engine, closing(sqlite3.connect(sqlite.path)) as db:
            with db:
                engine.start(flow, Order(), id="one", tx=db)
            assert engine.get("one").status() is Status.QUEUED

    asyncio.run(cell())


def test_an_async_engine_still_refuses_another_loop(store):
    engine = AsyncEngine(store)

    async def use() -> None:
        with pytest.raises(StepflowError, match="another event loop"):
            engine.get("one")

    async def main() -> None:
        async with engine:
            await asyncio.to_thread(asyncio.run, use())

    asyncio.run(main())


def test_a_run_goes_on_behind_a_restart_on_the_connection_that_opening_made(tmp_path, monkeypatch):
    """Each connection to a file reads its schema: other ones are made when there is something to read beside the runs."""
    url, made, threads = f"sqlite:///{tmp_path / 'runs.db'}", [], []

    def connect(*args, **options):
        made.append(args)
        return real(*args, **options)

    def flow(last):
        return named("x").wait_event("w", "go", int, lambda payload: None).do("last", last).compile()

    with Engine(url) as engine:
        engine.register(flow(lambda: None))
        engine.start(flow(lambda: None), id="one")
        engine.run_until_idle()
        engine.get("one").publish("go", 1)
    real = database.connect
    monkeypatch.setattr(database, "connect", connect)
    before = set(threading.enumerate())  # those of other tests may end meanwhile
    with Engine(url) as engine:
        threads.append(len(set(threading.enumerate()) - before))
        engine.register(flow(lambda: threads.append(len(made))), named("other").do("a", lambda: None).compile())
        assert engine.run_until_idle().completed == 1
    assert threads == [0, 1]  # no thread after opening, one connection at the step
