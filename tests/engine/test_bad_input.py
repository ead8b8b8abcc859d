"""Wrong arguments, wrong moments and wrong places: each a clear error that names the way out, and nothing is lost."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
import warnings
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stepflow import (
    AsyncEngine,
    DefinitionError,
    Engine,
    ResultTimeout,
    Status,
    StepflowError,
    Steps,
    StoreError,
    named,
)
from tests.engine.flows import Order, chain, note


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (named("x", Order).do("a", note("a")), r"call \.compile\(\) on the chain first"),
        (Steps(Order), r"call \.compile\(\)"),
        (note("a"), "not a flow; give a compiled flow"),
        ("x", "not a flow"),
        (None, "not a flow"),
    ],
)
def test_register_takes_compiled_flows(engine, given, why):
    with pytest.raises(DefinitionError, match=why):
        engine.register(given)


def test_register_is_all_or_nothing(engine):
    flow = chain("x", "a")
    with pytest.raises(DefinitionError):
        engine.register(flow, "y")
    engine.start(flow, Order())
    assert engine.run_until_idle().completed == 0


@pytest.mark.parametrize("given", [named("x", Order).do("a", note("a")), "x", None, note("a")])
def test_start_takes_a_compiled_flow(engine, given):
    with pytest.raises(DefinitionError, match="not a flow"):
        engine.start(given, Order())


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"id": ""}, "id='': give a non-empty text of at most 512 characters without NUL"),
        ({"id": 5}, "id=5"),
        ({"id": b"x"}, "id=b'x'"),
        ({"id": "a\0b"}, "without NUL"),
        ({"id": "x" * 513}, "at most 512"),
        ({"id": "half \ud800"}, "surrogate"),
        ({"labels": {"a": 1}}, "labels: 'a': 1: keys and values must be texts"),
        ({"labels": {1: "a"}}, "labels: 1"),
        ({"labels": {"": "a"}}, "labels"),
        ({"labels": ["a"]}, r"labels=\['a'\]: give a dict"),
        ({"labels": "a"}, "labels='a': give a dict"),
        ({"labels": {"a": "half \ud800"}}, "surrogate"),
        ({"at": "tomorrow"}, r"at='tomorrow': give an aware datetime, e\.g\. datetime\.now\(UTC\)"),
        ({"at": 5}, "at=5"),
        ({"at": datetime(2026, 1, 1)}, "no time zone"),  # noqa: DTZ001
        ({"priority": "high"}, "priority='high': give a whole number, low ones go first"),
        ({"priority": 1.5}, "priority=1.5"),
        ({"priority": True}, "priority=True"),
        ({"priority": 1 << 63}, "priority=9223372036854775808"),
    ],
)
def test_start_checks_its_options(engine, options, why):
    with pytest.raises(StepflowError, match=why):
        engine.start(chain("x", "a"), Order(), **options)
    assert engine.runs() == []


@pytest.mark.parametrize("run_id", ["", 5, None, b"x", "a\0b"])
def test_get_takes_a_text(engine, run_id):
    with pytest.raises(StepflowError, match=r"id=.*give a non-empty text"):
        engine.get(run_id)
    with pytest.raises(StepflowError, match=r"id=.*give a non-empty text"):
        engine.get(chain("x", "a"), run_id)


def test_get_with_a_flows_name_is_refused(engine):
    with pytest.raises(StepflowError, match=r"get\('x', 'one'\): give the flow itself, or the id alone"):
        engine.get("x", "one")


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, "many", True, None])
def test_concurrency_is_a_positive_number(concurrency):
    with pytest.raises(StepflowError, match="concurrency="):
        Engine("memory://", concurrency=concurrency)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("namespace", 3),
        ("namespace", "a\0b"),
        ("namespace", "\ud800"),
        ("namespace", "x" * 513),
        ("retention", 30),
        ("retention", timedelta(days=-1)),
        ("clock", 3),
        ("clock", datetime.now(UTC)),
    ],
)
def test_an_engine_names_the_option_that_is_wrong(option, value):
    with pytest.raises(StepflowError, match=f"{option}="):
        Engine("memory://", **{option: value})


@pytest.mark.parametrize("timeout", ["1h", -1, float("nan"), timedelta(seconds=-1), True])
def test_a_timeout_that_is_none_is_refused_at_once(engine, timeout):
    run = engine.start(named("x", Order).do("a", note("a")).compile(), Order())
    with pytest.raises(StepflowError, match="timeout="):
        run.result(timeout=timeout)


def test_a_timeout_may_be_a_timedelta(sqlite):
    with Engine(sqlite) as engine:
        run = engine.start(named("x", Order).do("a", note("a")).compile(), Order())
        with pytest.raises(ResultTimeout, match=r"within 0\.01 s"):
            run.result(timeout=timedelta(milliseconds=10))


@pytest.mark.parametrize("store", ["orders.db", "mysql://x", "", None, 5, "memory://path"])
def test_unknown_stores_are_refused(store):
    with pytest.raises(StoreError, match=r"memory://|sqlite:///"):
        Engine(store)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"status": "done"}, "status='done'.*queued"),
        ({"limit": 0}, "limit=0"),
        ({"limit": "all"}, "limit='all'"),
        ({"labels": ["a"]}, "labels="),
        ({"after": "nobody"}, "after='nobody'"),
    ],
)
def test_listing_checks_its_options(engine, options, why):
    with pytest.raises(StepflowError, match=why):
        engine.runs(**options)


@pytest.mark.parametrize("older_than", [5, "a day", None])
def test_prune_takes_a_timedelta(engine, older_than):
    with pytest.raises(StepflowError, match=r"older_than=.*timedelta"):
        engine.prune(older_than)


REAL = pytest.mark.parametrize("real", [False, True], ids=["virtual", "real"])


def calls(engine: Engine, run: Any) -> list[Any]:
    flow = chain("x", "a")
    looks = [run.status, run.info, run.exchange, run.history, run.explain, run.cancel, run.redrive]
    waits = [lambda: run.result(timeout=1), lambda: run.publish("paid"), lambda: engine.start(flow, Order())]
    works = [engine.run_until_idle, engine.run_forever, engine.runs, engine.tally, lambda: engine.worker().__enter__()]
    return [*looks, *waits, *works, lambda: engine.start(flow, Order(), tx=object())]


def test_a_closed_engine_says_so(store, clock):
    with Engine(store, clock=clock) as engine:
        run = engine.start(chain("x", "a"), Order(), id="one")
    for call in calls(engine, run):
        with pytest.raises(StepflowError, match=r"not open: use it inside `with Engine|engine is closed: open"):
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
        for _ in range(2):
            for make in (
                lambda: engine.start(flow, Order()),
                engine.run_until_idle,
                engine.runs,
                engine.tally,
                engine.run_forever,
            ):
                with pytest.raises(StepflowError, match="not open: use it inside"):
                    await make()
            with pytest.raises(StepflowError, match="not open: use it inside"):
                engine.get("one")
            async with engine:
                run = await engine.start(flow, Order())
            with pytest.raises(StepflowError, match="not open: use it inside"):
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
        assert held.wait(20)

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
