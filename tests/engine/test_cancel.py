"""Cancelling runs that wait, sleep, or are held by this engine or another one; and closing under fire."""

from __future__ import annotations

import asyncio
import pickle
import threading
from datetime import timedelta
from typing import Any

import pytest

from stepflow import (
    AsyncEngine,
    Engine,
    Noop,
    RetryPolicy,
    RunCancelled,
    RunEnded,
    Status,
    StepflowError,
    Steps,
    current,
    named,
)
from stepflow import flow as function
from stepflow.drivers.port.commit import Owner
from tests.engine.flows import Flaky, Order, chain, note

WAIT_S = 60.0


@pytest.mark.parametrize("wait", ["event", "event with time-out", "poll", "start"])
def test_a_run_that_waits_is_cancelled_at_once(engine, clock, wait):
    base: Any = named("x", Order).do("a", note("a"))
    flow = {
        "event": base.wait_event("w", "paid", int, lambda _o, _p: None),
        "event with time-out": base.wait_event("w", "paid", int, lambda _o, _p: None, timeout=60),
        "poll": base.wait_for("w", lambda: False, every=5),
        "start": base,
    }[wait].compile()
    engine.register(flow)
    at = clock.datetime() + timedelta(hours=1) if wait == "start" else None
    run = engine.start(flow, Order(), at=at)
    engine.run_until_idle()
    run.cancel()
    assert (run.status(), run.info().due, run.info().waiting_for) == (Status.CANCELLED, None, "")
    with pytest.raises(RunEnded, match="cancelled"):
        run.publish("paid", 1)
    idle = engine.run_until_idle(advance=True)
    assert (idle.waiting, idle.next_due) == (0, None)
    assert run.status() is Status.CANCELLED
    with pytest.raises(RunCancelled):
        run.result()


def test_the_holder_learns_of_another_engines_cancel_by_its_heart(store):
    begun, go_on = threading.Event(), threading.Event()

    def step(order: Order) -> None:
        begun.set()
        assert go_on.wait(WAIT_S)
        order.log.append("a")

    flow = named("x", Order).do("a", step).do("b", note("b")).compile()
    with Engine(store) as worker, Engine(store) as client:
        worker.register(flow)
        run = client.start(flow, Order())
        with worker.worker():
            assert begun.wait(WAIT_S)
            run.cancel()
            worker._engine._session.heartbeat.beat()
            assert (
                worker.get(run.id).status() is Status.RUNNING
            )  # a round trip through its loop, behind the cancel mark
            go_on.set()
            with pytest.raises(RunCancelled):
                run.result(timeout=WAIT_S)
        assert run.exchange().log == ["a"]  # its step was finished


@pytest.mark.parametrize("ends", ["returns", "raises", "exits", "spoils"])
@pytest.mark.parametrize("style", ["sync", "mixed"])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_cancel_while_the_last_step_runs_cancels(store, style, ends, elsewhere):
    handle: list[Any] = []

    def cancelled(order: Any) -> None:
        handle[0].cancel()
        order["log"] = "done" if ends != "spoils" else object()
        if ends == "raises":
            raise ValueError("after the cancel")
        if ends == "exits":
            raise SystemExit(3)

    async def nothing() -> None:
        return None

    base: Any = named("x")
    flow = (base.do("n", nothing) if style == "mixed" else base).do("a", cancelled).compile(retry=RetryPolicy())
    with Engine(store) as engine, Engine(store) as client:
        engine.register(flow)
        run = engine.start(flow, {}, id="one")
        handle.append(client.get("one") if elsewhere else run)
        engine.run_until_idle()
        info = run.info()
        assert (info.status, info.cancel_requested, info.owner) == (Status.CANCELLED, False, "")
        assert run.exchange() == ({"log": "done"} if ends == "returns" else {})
        expected = {"returns": None, "raises": "ValueError", "exits": "SystemExit", "spoils": "CodecError"}[ends]
        assert {entry.error.type for entry in run.history() if entry.error} == ({expected} if expected else set())
        run.cancel()
        with pytest.raises(RunCancelled):
            run.result(timeout=WAIT_S)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("step", ["do", "handler", "condition", "function"])
@pytest.mark.parametrize("swallows", [False, True])
def test_an_async_step_is_told_at_once(store, last, step, swallows):
    told: list[str] = []

    async def program() -> None:
        begun = asyncio.Event()

        async def forever(*_args: Any) -> Any:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                told.append("cancelled")
                await asyncio.sleep(0)  # it may clean up
                if not swallows:
                    raise
            return Noop() if step == "function" else True

        async def in_function(_ctx: Any) -> Any:
            return await forever()

        def boom() -> None:
            raise ValueError

        base: Any = named("x")
        made: Any = {
            "do": lambda: base.do("a", forever),
            "handler": lambda: base.retry("r", forever, Steps().do("a", boom)),
            "condition": lambda: base.wait_for("w", forever),
            "function": lambda: function("x")(in_function),
        }[step]()
        if step != "function":
            made = (made if last else made.do("b", lambda: told.append("b"))).compile()
        async with AsyncEngine(store) as engine, engine.worker():
            engine.register(made)
            run = await engine.start(made, id="one")
            await asyncio.wait_for(begun.wait(), WAIT_S)
            assert await run.status() is Status.RUNNING
            await run.cancel()
            with pytest.raises(RunCancelled):
                await run.result(timeout=WAIT_S)
            assert told == ["cancelled"]
            info = await run.info()
            handled = swallows and step in (
                "handler",
                "function",
            )  # the error that was handled; a function without a commit
            assert (info.error is not None, info.cancel_requested) == (handled, False)

    asyncio.run(program())


def test_a_requested_cancel_is_shown_until_the_holder_ends_the_run(store):
    begun, go_on = threading.Event(), threading.Event()

    def step() -> None:
        begun.set()
        assert go_on.wait(WAIT_S)

    flow = named("x").do("a", step).compile()
    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow, id="one")
        with engine.worker():
            assert begun.wait(WAIT_S)
            assert not run.info().cancel_requested
            run.cancel()
            run.cancel()
            assert (run.status(), run.info().cancel_requested) == (Status.RUNNING, True)
            assert "a cancel was requested" in run.explain()
            go_on.set()
            with pytest.raises(RunCancelled):
                run.result(timeout=WAIT_S)


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED])
def test_an_ended_run_cannot_be_cancelled(engine, status):
    flow = named("x", Order).do("a", note("a") if status is Status.COMPLETED else Flaky(1)).compile()
    engine.register(flow)
    run = engine.start(flow, Order(), id="one")
    engine.run_until_idle()
    with pytest.raises(RunEnded, match=f"'one' has ended, it is {status}") as ended:
        run.cancel()
    assert (ended.value.run_id, ended.value.status) == ("one", status)
    assert pickle.loads(pickle.dumps(ended.value)).status == status


def test_a_mark_is_kept_when_the_holder_gives_the_run_back(store, clock):
    flow = chain("x", "a")
    with Engine(store, clock=clock) as engine:
        run = engine.start(flow, Order(), id="one")
        holder = store.connect("", Owner("holder", "host", 1), clock.now())
        assert len(holder.claim({"x": flow.definition}, clock.now(), 1)) == 1
        run.cancel()
        holder.close()
        engine.register(flow)
        engine.run_until_idle()
        assert run.status() is Status.CANCELLED


def test_a_held_run_that_cannot_be_read_is_cancelled_all_the_same(store, clock):
    flow = chain("x", "a")
    with Engine(store, clock=clock) as engine:
        run = engine.start(flow, Order(), id="one")
        holder = store.connect("", Owner("holder", "host", 1), clock.now())
        assert len(holder.claim({"x": flow.definition}, clock.now(), 1)) == 1
        run.cancel()
        holder.close()
        narrow: Any = named("x", int).do("a", lambda: None).compile()
        engine.register(narrow)
        engine.run_until_idle()
        assert run.status() is Status.CANCELLED


def test_closing_under_fire_ends_every_call(store):
    engine, ends, started = Engine(store), [], threading.Barrier(5)
    flow = chain("x", "a")

    def fire() -> None:
        started.wait(WAIT_S)
        for n in range(10_000):
            try:
                engine.start(flow, Order(n)).status()
            except StepflowError as error:
                ends.append(str(error))
                return

    threads = [threading.Thread(target=fire) for _ in range(4)]
    with engine:
        for thread in threads:
            thread.start()
        started.wait(WAIT_S)
    for thread in threads:
        thread.join(WAIT_S)
    assert not any(thread.is_alive() for thread in threads)
    assert len(ends) == 4


@pytest.mark.parametrize("wait", ["sleep", "poll", "event"])
def test_priority_is_kept_over_waits(engine, wait):
    seen: list[str] = []
    flaky = {name: Flaky(1) for name in ("low", "high")}

    def fail_once(order: Order) -> None:
        flaky[current().run_id](order)

    polls: dict[str, int] = {"low": 0, "high": 0}

    def ready() -> bool:
        polls[current().run_id] += 1
        return polls[current().run_id] > 1

    base: Any = named("x", Order)
    waits = {
        "sleep": base.retry("r", RetryPolicy(delay=5, jitter=0), Steps(Order).do("f", fail_once)),
        "poll": base.wait_for("w", ready, every=5),
        "event": base.wait_event("w", "go", int, lambda _o, _p: None),
    }
    flow = waits[wait].do("look", lambda: seen.append(current().run_id)).compile()
    engine.register(flow)
    runs = [engine.start(flow, Order(), id=name, priority=p) for name, p in (("low", 9), ("high", 1))]
    engine.run_until_idle()
    if wait == "event":
        for run in runs:
            run.publish("go", 1)
    assert [run.info().priority for run in runs] == [9, 1]
    assert engine.run_until_idle(advance=True).completed == 2
    assert seen == ["high", "low"]


class OneLoop(dict[str, Any]):
    """A dict that only the loop on which it was made may iterate: while it does, no other thread can change the dict."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.get_running_loop()

    def values(self) -> Any:
        assert asyncio.get_running_loop() is self.loop
        return super().values()


def test_a_heartbeat_on_another_thread_leaves_the_held_runs_to_the_loop(store):
    begun, go_on = threading.Event(), threading.Event()

    def step(order: Order) -> None:
        begun.set()
        assert go_on.wait(WAIT_S)

    async def guard() -> None:
        worker._engine._session.worker._held = OneLoop()

    flow = named("x", Order).do("a", step).do("b", note("b")).compile()
    with Engine(store) as worker, Engine(store) as client:
        worker.register(flow)
        worker._loop_thread.call(guard())
        run = client.start(flow, Order())
        with worker.worker():
            assert begun.wait(WAIT_S)
            run.cancel()
            worker._engine._session.heartbeat.beat()
            assert (
                worker.get(run.id).status() is Status.RUNNING
            )  # a round trip through its loop, behind the cancel mark
            go_on.set()
            with pytest.raises(RunCancelled):
                run.result(timeout=WAIT_S)
