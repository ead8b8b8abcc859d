"""Steps that raise other than Exception: the run fails, or is released when the user stops the program."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from stepflow import AsyncEngine, Engine, RetryPolicy, RunFailed, Status, Steps, named
from tests.engine.flows import Order, chain, note
from tests.engine.test_cancel import WAIT_S

REAL = pytest.mark.parametrize("real", [False, True], ids=["virtual", "real"])
STYLE = pytest.mark.parametrize("style", ["sync", "async", "mixed"])


class Rude(BaseException):
    """An error that some libraries raise to bypass `except Exception`."""


def raising(style: str, error: BaseException, times: int = 99, called: threading.Event | None = None) -> Any:
    """A chain whose second step raises `error` in its first calls; `mixed` calls a sync step from an async chain."""
    left, called = [times], called or threading.Event()

    def sync_step(order: Order) -> None:
        order.log.append("tried")
        called.set()
        if left[0]:
            left[0] -= 1
            raise error

    async def async_step(order: Order) -> None:
        sync_step(order)

    async def nop(_order: Order) -> None:
        return

    inner = Steps(Order).do("b", async_step if style == "async" else sync_step)
    first = note("a") if style == "sync" else nop
    retried = Steps(Order).do("a", first).retry("r", RetryPolicy(max_attempts=2, delay=0), inner)
    return named("x", Order).steps("s", retried).do("c", note("c")).compile()


@REAL
@STYLE
@pytest.mark.parametrize("error", [SystemExit(3), Rude("no"), asyncio.CancelledError("mine")], ids=repr)
def test_they_fail_the_run_at_once_and_nothing_else(store, clock, style, real, error):
    flow, innocent = raising(style, error), chain("innocent", "a", "b")
    with Engine(store, clock=None if real else clock) as engine:
        engine.register(flow, innocent)
        run, other = engine.start(flow, Order(), id="bad"), engine.start(innocent, Order(), id="good")
        idle = engine.run_until_idle()
        assert (idle.completed, idle.failed) == (1, 1)
        with pytest.raises(RunFailed) as failed:
            run.result(timeout=60)
        assert type(error).__name__ in f"{failed.value.type} {failed.value.message}"
        assert other.result(timeout=60).log == ["a", "b"]
        assert "tried" not in run.exchange().log


@REAL
@STYLE
def test_stop_iteration_is_an_error_like_others(store, clock, style, real):
    flow = raising(style, StopIteration("over"), times=1)
    with Engine(store, clock=None if real else clock) as engine:
        engine.register(flow)
        run = engine.start(flow, Order())
        engine.run_until_idle()
        assert run.result(timeout=60).log[-2:] == ["tried", "c"]


@STYLE
def test_a_keyboard_interrupt_hands_the_run_back_and_reaches_the_caller(store, clock, style):
    flow = raising(style, KeyboardInterrupt("enough"), times=1)
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow, Order())
        with pytest.raises(KeyboardInterrupt, match="enough"):
            engine.run_until_idle()
        info = run.info()
        assert (info.status, info.crashes, info.owner) == (Status.QUEUED, 0, "")
        assert engine.run_until_idle().completed == 1
        assert run.result().log.count("tried") == 1


@STYLE
def test_a_keyboard_interrupt_in_real_time_does_the_same(store, style):
    flow = raising(style, KeyboardInterrupt("enough"), times=1)
    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow, Order())
        with pytest.raises(KeyboardInterrupt, match="enough"):
            engine.run_until_idle()
        assert (run.status(), run.info().crashes) == (Status.QUEUED, 0)
        assert engine.run_until_idle().completed == 1


@STYLE
def test_a_keyboard_interrupt_ends_a_background_worker_and_shows_at_its_end(store, style):
    called = threading.Event()
    flow = raising(style, KeyboardInterrupt("enough"), times=1, called=called)
    with Engine(store) as engine:
        engine.register(flow)

        def work() -> None:
            with engine.worker():
                assert called.wait(WAIT_S)

        engine.start(flow, Order())
        with pytest.raises(KeyboardInterrupt, match="enough"):
            work()
        assert engine.run_until_idle().completed == 1


def test_a_keyboard_interrupt_ends_an_async_program(store):
    flow = raising("sync", KeyboardInterrupt("enough"), times=1)

    async def program() -> None:
        async with AsyncEngine(store) as engine:
            engine.register(flow)
            await engine.start(flow, Order(), id="one")
            await engine.run_until_idle()

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(program())
    with Engine(store) as engine:
        engine.register(flow)
        assert engine.run_until_idle().completed == 1


@REAL
def test_a_base_exception_in_a_handler_fails_the_run(store, clock, real):
    def handler(_error: Exception) -> bool:
        raise SystemExit(1)

    def step() -> None:
        raise ValueError("first")

    flow = named("x", Order).retry("r", handler, Steps(Order).do("s", step)).compile()
    with Engine(store, clock=None if real else clock) as engine:
        engine.register(flow)
        run = engine.start(flow, Order())
        assert engine.run_until_idle().failed == 1
        with pytest.raises(RunFailed, match="SystemExit"):
            run.result(timeout=60)


def test_cancelling_the_caller_hands_the_run_back(store):
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def step(order: Order) -> None:
        order.log.append("a")
        begun.set()
        await go_on.wait()

    flow = named("x", Order).do("a", step).do("b", note("b")).compile()

    async def program() -> None:
        async with AsyncEngine(store) as engine:
            engine.register(flow)
            run = await engine.start(flow, Order(), id="one")
            task = asyncio.create_task(engine.run_until_idle())
            await begun.wait()
            assert await run.status() is Status.RUNNING
            task.cancel()
            for _ in range(10):  # until the worker has heard of it
                await asyncio.sleep(0)
            go_on.set()  # a step that has begun is given time to end
            with pytest.raises(asyncio.CancelledError):
                await task
            info = await run.info()
            assert (info.status, info.crashes, info.position) == (Status.QUEUED, 0, ["completed:x/a"])
            await engine.run_until_idle()
            assert (await run.result()).log == ["a", "b"]

    asyncio.run(program())


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (Mute(), "its message cannot be shown, __str__ raised ValueError [in step x/a]"),
        (ValueError("a\0b \ud800 \x1b[2J"), "a\0b \ud800 \x1b[2J [in step x/a]"),
        (ExceptionGroup("many", [KeyError(1), ValueError(2)]), "many (2 sub-exceptions) [in step x/a]"),
        (MemoryError(), " [in step x/a]"),
    ],
    ids=["mute", "awkward", "group", "empty"],
)
def test_an_error_fails_its_run_whatever_it_says(engine, error, message):
    def raising() -> None:
        raise error

    flow = named("x").do("a", raising).compile()
    engine.register(flow)
    run = engine.start(flow)
    assert engine.run_until_idle().failed == 1
    told = run.info().error
    assert (told.type, told.message) == (type(error).__name__, message)
    assert type(error).__name__ in told.traceback
    run.redrive()
    assert engine.run_until_idle().failed == 1
