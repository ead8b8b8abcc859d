"""Engines that are closed, already open, running, on their own loop, or of another process: each error says so."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
import warnings
from typing import Any

import pytest

from stepflow import (
    AsyncEngine,
    Engine,
    Status,
    StepflowError,
    named,
)
from stepflow.engine import session
from tests.engine.flows import Order, chain

REAL = pytest.mark.parametrize("real", [False, True], ids=["virtual", "real"])


def calls(engine: Engine, run: Any) -> list[Any]:
    flow = chain("x", "a")
    looks = [run.status, run.info, run.exchange, run.history, run.explain, run.cancel, run.redrive]
    waits = [lambda: run.result(timeout=1), lambda: run.publish("paid"), lambda: engine.start(flow, Order())]
    works = [engine.run_until_idle, engine.run_forever, engine.runs, engine.tally, lambda: engine.worker().__enter__()]
    return [*looks, *waits, *works, lambda: engine.start(flow, Order(), tx=object())]


def test_another_event_loop_says_so(store, clock):
    engine, flow = AsyncEngine(store, clock=clock), chain("x", "a")
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(engine.__aenter__())
        for call in (engine.run_until_idle, engine.tally, lambda: engine.start(flow, Order())):
            with pytest.raises(StepflowError, match="opened on another event loop: use it there"):
                asyncio.run(call())  # type: ignore[operator]
        with pytest.raises(StepflowError, match="opened on another event loop: close it there"):
            asyncio.run(engine.__aexit__(None, None, None))
        loop.run_until_complete(engine.__aexit__(None, None, None))
    finally:
        loop.close()


@pytest.mark.parametrize("url", ["memory://", "sqlite"])
def test_an_engine_whose_loop_is_gone_can_still_be_closed(tmp_path, url):
    url = f"sqlite:///{tmp_path}/x.db" if url == "sqlite" else url
    before = set(threading.enumerate())
    engine = AsyncEngine(url)
    asyncio.run(engine.__aenter__())
    asyncio.run(engine.__aexit__(None, None, None))
    assert set(threading.enumerate()) <= before
    with pytest.raises(StepflowError, match="engine is closed"):
        asyncio.run(engine.tally())


def test_a_worker_that_is_left_after_its_engine_was_closed_reports_no_claims(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(session, "REST_S", 0.01)

    async def go() -> None:
        engine = AsyncEngine(f"sqlite:///{tmp_path}/x.db")
        await engine.__aenter__()
        async with engine.worker():
            await engine.__aexit__(None, None, None)

    asyncio.run(go())
    assert [record.getMessage() for record in caplog.records if "not released" in record.getMessage()] == []


def test_a_closed_engine_says_so(store, clock):
    with Engine(store, clock=clock) as engine:
        run = engine.start(chain("x", "a"), Order(), id="one")
    for call in calls(engine, run):
        with pytest.raises(StepflowError, match="engine is closed: open a new one"):
            call()
    with pytest.raises(StepflowError, match=r"not open|closed"):
        run.publish("paid", tx=object())


def test_an_engine_that_was_never_opened_says_so():
    engine = Engine("memory://")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for call in (lambda: engine.start(chain("x", "a"), Order()), lambda: engine.get("one"), engine.run_until_idle):
            with pytest.raises(StepflowError, match=r"not open: use it inside `with Engine"):
                call()
    engine.register(chain("x", "a"))  # this may come first


def test_an_async_engine_that_is_not_open_says_so():
    async def go() -> None:
        engine = AsyncEngine("memory://")
        flow = chain("x", "a")
        for told in ("not open: use it inside `async with AsyncEngine", "engine is closed: open a new one"):
            for make in (
                lambda: engine.start(flow, Order()),
                engine.run_until_idle,
                engine.runs,
                engine.tally,
                engine.run_forever,
            ):
                with pytest.raises(StepflowError, match=told):
                    await make()
            with pytest.raises(StepflowError, match=told):
                engine.get("one")
            async with engine:
                run = await engine.start(flow, Order())
            with pytest.raises(StepflowError, match="engine is closed"):
                await run.status()

    asyncio.run(go())


def test_an_engine_is_opened_once_at_a_time_and_can_be_opened_again(store, clock):
    engine = Engine(store, clock=clock)
    flow = chain("x", "a")
    engine.register(flow)
    with engine:
        with pytest.raises(StepflowError, match="open already"):
            engine.__enter__()
        engine.start(flow, Order(), id="one")
    with engine:
        assert engine.run_until_idle().completed == 1


def test_two_workers_in_one_engine_are_refused(store):
    refused = pytest.raises(StepflowError, match="at work already: open another")
    with Engine(store) as engine, engine.worker(), refused:
        engine.run_until_idle()


@REAL
def test_a_sync_engine_called_from_its_own_loop_says_so(store, clock, real):
    seen: list[str] = []

    async def step() -> None:
        try:
            engine.start(flow, id="other")
        except StepflowError as error:
            seen.append(str(error))

    flow = named("x").do("s", step).compile()
    with Engine(store, clock=None if real else clock) as engine:
        engine.register(flow)
        engine.start(flow)
        assert engine.run_until_idle().completed == 1
    assert seen == ["a sync Engine was called from an async step on its own loop: use a sync step, or AsyncEngine"]


@REAL
def test_a_sync_engine_may_be_called_from_a_sync_step(store, clock, real):
    held = threading.Event()

    def step() -> None:
        child = engine.start(other, id="child")
        child.publish("go", 1)
        with pytest.raises(StepflowError, match=r"has not ended|cannot wait"):
            child.result(timeout=0.01)
        with pytest.raises(StepflowError, match="at work already"):
            engine.run_until_idle()
        assert child.status() in (Status.QUEUED, Status.RUNNING, Status.WAITING)
        held.set()

    def wait_for_parent() -> None:
        assert held.wait(60)

    other = named("y").wait_event("w", "go", int, lambda _p: None).do("s", wait_for_parent).compile()
    flow = named("x").do("s", step).compile()
    with Engine(store, clock=None if real else clock) as engine:
        engine.register(flow, other)
        engine.start(flow)
        assert engine.run_until_idle().completed == 2


FORK = """
    import os, sys, warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of fork beside threads: that is the test
    from stepflow import Engine, StepflowError, named

    flow = named("x").do("a", lambda: None).compile()
    store = sys.argv[1]
    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow, id="one")
        child = os.fork()
        if child == 0:
            told = []
            for call in (run.status, engine.run_until_idle, lambda: engine.start(flow), lambda: run.publish("x"),
                         lambda: engine.start(flow, tx=object()), lambda: run.publish("x", tx=object()),
                         lambda: engine.register(flow), lambda: engine.get("one").status()):
                try:
                    call()
                    told.append("nothing")
                except StepflowError as error:
                    told.append(str(error))
            engine.__exit__(None, None, None)
            good = set(told) == {"the engine was opened before fork: open one in each process"}
            print(told, flush=True) if not good else None
            os._exit(0 if good else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert engine.run_until_idle().completed == 1  # the parent's claims, locks and threads are as they were
        assert str(run.status()) == "completed"
    print("fine")
"""


def test_an_engine_does_not_work_after_fork(sqlite):
    program = [sys.executable, "-c", textwrap.dedent(FORK), f"sqlite:///{sqlite.path}"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("fine\n", "", 0)


def test_memory_urls_are_separate_stores(clock):
    with Engine("memory://", clock=clock) as one, Engine("memory://", clock=clock) as two:
        one.start(chain("x", "a"), Order())
        assert (len(one.runs()), len(two.runs())) == (1, 0)


async def _publishes_after_the_end() -> None:
    async with AsyncEngine("memory://") as engine:
        run = await engine.start(chain("x", "a"), Order())
    with pytest.raises(StepflowError, match="engine is closed"):
        await run.publish("paid", 1)


def test_a_publish_after_the_end_is_refused():
    asyncio.run(_publishes_after_the_end())
