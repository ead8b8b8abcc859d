"""result(): waiting for the end in this engine and in others, again and again, without leaving anything behind."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from stepflow import AsyncEngine, Engine, ResultTimeout, RunCancelled, RunFailed, named
from tests.engine.flows import Flaky, Order, chain

WAIT_S = 60.0


def test_an_engine_sees_the_end_that_another_one_made(store):
    flow = chain("x", "a")
    with Engine(store) as client, Engine(store) as worker:
        worker.register(flow)
        run = client.start(flow, Order())
        with worker.worker():
            assert run.result(timeout=WAIT_S) == Order(1, ["a"])


def test_many_wait_for_one_and_one_waits_for_many(store):
    flow = named("x", Order).wait_event("w", "go", int, lambda o, p: o.log.append(str(p))).compile()

    async def go() -> None:
        async with AsyncEngine(store) as client, AsyncEngine(store) as worker:
            worker.register(flow)
            runs = [await client.start(flow, Order(), id=f"run-{n}") for n in range(10)]
            async with worker.worker():
                waits = [asyncio.create_task(run.result(timeout=WAIT_S)) for run in runs for _ in range(5)]
                for n, run in enumerate(runs):
                    await run.publish("go", n)
                results = await asyncio.gather(*waits)
            assert [r.log for r in results] == [[str(n)] for n in range(10) for _ in range(5)]

    asyncio.run(go())


@pytest.mark.parametrize("end", ["cancel", "fail"])
def test_every_end_is_an_end(store, end):
    flow = named("x", Order).do("f", Flaky(1)).compile()
    with Engine(store) as client, Engine(store) as other:
        run = client.start(flow, Order(), id="one")
        caught: list[BaseException] = []

        def wait() -> None:
            try:
                run.result(timeout=WAIT_S)
            except (RunFailed, RunCancelled) as error:
                caught.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        if end == "cancel":
            other.get("one").cancel()
        else:
            other.register(flow)
            other.run_until_idle()
        thread.join(WAIT_S)
        assert [type(error) for error in caught] == [RunCancelled if end == "cancel" else RunFailed]


def test_a_time_out_leads_to_the_reason(store):
    with Engine(store) as engine:
        run = engine.start(chain("x", "a"), Order(), id="one")
        with pytest.raises(ResultTimeout, match=r"'one' has not ended within 0\.01 s; explain\(\) tells why") as e:
            run.result(timeout=0.01)
        assert isinstance(e.value, TimeoutError)
        with pytest.raises(ResultTimeout):
            run.result(timeout=0)
        with pytest.raises(ResultTimeout):
            run.result(timeout=-1)


def waiters(engine: Any) -> int:
    return len(engine._engine._session._waiters._waiting)


def test_waiting_leaves_nothing_behind(store):
    flow = chain("x", "a")
    with Engine(store) as engine:
        engine.register(flow)
        ended, open_ = engine.start(flow, Order()), engine.start(named("y").do("a", lambda: None).compile())
        engine.run_until_idle()
        for _ in range(50):
            ended.result()
        for _ in range(3):
            with pytest.raises(ResultTimeout):
                open_.result(timeout=0.001)
        assert waiters(engine) == 0


def test_closing_while_somebody_waits_tells_them(store):
    caught: list[BaseException] = []
    waiting = threading.Event()
    with Engine(store) as engine:
        run = engine.start(chain("x", "a"), Order())

        def wait() -> None:
            waiting.set()
            try:
                run.result()
            except Exception as error:
                caught.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        assert waiting.wait(WAIT_S)
    thread.join(WAIT_S)
    assert not thread.is_alive()
    assert "engine" in str(caught[0])


def test_a_redriven_run_ends_anew(store):
    flow = named("x", Order).do("f", Flaky(1)).compile()
    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow, Order())
        with engine.worker():
            with pytest.raises(RunFailed):
                run.result(timeout=WAIT_S)
            run.redrive()
            assert run.result(timeout=WAIT_S).log == ["try 2"]


def test_closing_does_not_wait_for_the_next_look_at_the_store(store, monkeypatch):
    monkeypatch.setattr("stepflow.engine.membership.change_listener.SLICE_S", 600.0)

    def work() -> None:
        with Engine(store) as engine:
            engine.run_until_idle()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(WAIT_S)
    assert not thread.is_alive()
