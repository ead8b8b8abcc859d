"""Steps that cancel the tasks of their event loop: the worker goes on, and a run that ends it all the same counts a crash."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest

from stepflow import AsyncEngine, Engine, RunFailed, Status, named
from stepflow.drivers.memory import MemoryDriver
from stepflow.engine import session
from stepflow.engine.worker.retention import Pruner
from tests.engine.test_cancel import WAIT_S
from tests.engine.test_time_limits import until

REAL = pytest.mark.parametrize("real", [False, True], ids=["virtual", "real"])


async def all_tasks(_exchange: Any) -> None:
    for task in asyncio.all_tasks():
        task.cancel()


async def all_tasks_then_waits(exchange: Any) -> None:
    await all_tasks(exchange)
    await asyncio.sleep(0)


async def all_others(_exchange: Any) -> None:
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


async def all_others_in_a_task(exchange: Any) -> None:
    await asyncio.ensure_future(all_others(exchange))


async def all_twice(exchange: Any) -> None:
    await all_others(exchange)
    await all_tasks_then_waits(exchange)


CANCELS = pytest.mark.parametrize(
    ("cancels", "fails"),
    [
        (all_tasks, False),
        (all_tasks_then_waits, True),
        (all_others, False),
        (all_others_in_a_task, True),
        (all_twice, True),
    ],
)


@REAL
@CANCELS
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside-others"])
def test_the_worker_goes_on(store, clock, real, cancels, fails, beside):
    """The run ends as its policy says, and runs beside it are done again."""

    async def step(_exchange: Any) -> None:
        for _turn in range(20):
            await asyncio.sleep(0)

    bad, good = (
        named(name, dict).do("a", fn).do("b", step).compile() for name, fn in (("bad", cancels), ("good", step))
    )
    sync = named("sync", dict).do("a", lambda _exchange: None).compile()
    with Engine(store, clock=None if real else clock) as engine:
        engine.register(bad, good, sync)
        run, others = engine.start(bad, {}, id="bad"), []
        if beside:
            others = [engine.start(flow, {}) for flow in (good, good, sync)]
        idle = engine.run_until_idle()
        assert (idle.completed, idle.failed) == (1 + len(others) - fails, fails)
        if fails:
            with pytest.raises(RunFailed, match="CancelledError"):
                run.result(WAIT_S)
        later = engine.start(good, {})
        engine.run_until_idle()
        assert all(other.result(WAIT_S) == {} for other in [*others, later])


def test_an_end_from_outside_is_still_one(store):
    """Whoever cancels all tasks in a program of their own ends the worker as well: no step did it, and no crash counts."""

    async def test() -> None:
        begun = asyncio.Event()

        async def step(_exchange: Any) -> None:
            begun.set()
            await asyncio.sleep(WAIT_S)

        flow = named("slow", dict).do("a", step).compile()
        async with AsyncEngine(store) as engine:
            engine.register(flow)
            run = await engine.start(flow, {})
            work = asyncio.create_task(engine.run_forever())
            await begun.wait()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.wait([work])
            assert work.cancelled()
            assert (await run.status()) is Status.QUEUED
            assert "died" not in await run.explain()

    asyncio.run(test())


def test_a_step_that_ends_the_program_three_times_is_not_called_again(monkeypatch):
    """The task of the program is among the tasks: what it does then is its own matter."""
    monkeypatch.setattr(session, "GRACE_S", 0.0)
    driver, calls = MemoryDriver(), []

    async def step(exchange: Any) -> None:
        calls.append(1)
        await all_others(exchange)
        await asyncio.sleep(WAIT_S)

    flow = named("bad", dict).do("a", step).compile()

    async def program() -> None:
        async with AsyncEngine(driver) as engine:
            engine.register(flow)
            await engine.start(flow, {}, id="r")
            async with engine.worker():
                await asyncio.sleep(WAIT_S)

    async def ended() -> str:
        async with AsyncEngine(driver) as engine:
            engine.register(flow)
            await engine.run_until_idle()
            error = (await engine.get(flow, "r").info()).error
            return "" if error is None else error.type

    for _time in range(3):
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(program())
    assert asyncio.run(ended()) == "Crashed"
    assert len(calls) == 3


def test_old_runs_are_pruned_afterwards(store, monkeypatch):
    monkeypatch.setattr(session, "QUIET_S", 0.0)
    pruned = threading.Semaphore(0)

    async def prune_old(self: Pruner, older_than: timedelta, report: Any = None) -> None:
        pruned.release()

    monkeypatch.setattr(Pruner, "prune_old", prune_old)
    bad = named("bad", dict).do("a", all_others).compile()
    with Engine(store, keep=timedelta(seconds=1)) as engine, engine.worker():
        assert pruned.acquire(timeout=WAIT_S)
        engine.register(bad)
        engine.start(bad, {}, id="r").result(WAIT_S)
        while pruned.acquire(blocking=False):
            pass
        for _time in range(2):
            assert pruned.acquire(timeout=WAIT_S)


def take(exchange: dict[str, Any], value: int) -> None:
    exchange["value"] = value


GATE = named("gate", dict).wait_event("open", "go", int, take).compile()


def test_calls_of_other_threads_go_on(store):
    bad, answers = named("bad", dict).do("a", all_others).compile(), []
    with Engine(store) as engine, engine.worker():
        engine.register(bad, GATE)
        run, watch = engine.start(GATE, {}, id="gate"), engine.watch(since=0)
        waiting = threading.Thread(target=lambda: answers.append(run.result(WAIT_S)))
        waiting.start()
        for number in range(10):
            engine.start(bad, {}, id=f"bad-{number}").result(WAIT_S)
            until(lambda: run.status() is Status.WAITING)  # a worker that goes on may begin with the step of this run
        run.publish("go", 7)
        waiting.join(WAIT_S)
        assert answers == [{"value": 7}]
        revs, last = [0], run.history()[-1].rev
        while revs[-1] < last:
            revs.append(watch.next(WAIT_S).rev)
        assert revs == sorted(set(revs))


@pytest.mark.parametrize("turns", range(8))
def test_who_waits_for_a_run_hears_of_its_end(store, turns):
    """Wherever the cancel meets the task that reads the news for all who wait, also before that has begun."""
    kept: list[asyncio.Future[Any]] = []

    async def program() -> None:
        own = asyncio.current_task()
        async with AsyncEngine(store) as engine:

            async def step(_exchange: Any) -> None:
                kept.append(asyncio.ensure_future(run.result(WAIT_S)))
                for _turn in range(turns):
                    await asyncio.sleep(0)
                for task in asyncio.all_tasks() - {own, kept[-1], asyncio.current_task()}:
                    task.cancel()

            bad = named("bad", dict).do("a", step).compile()
            engine.register(bad, GATE)
            run = await engine.start(GATE, {}, id="gate")
            async with engine.worker():
                await (await engine.start(bad, {})).result(WAIT_S)
                await run.publish("go", 7)
                assert await run.result(WAIT_S) == await kept[0] == {"value": 7}

    asyncio.run(program())
