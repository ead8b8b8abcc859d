"""Whatever a step raises, its run ends as its policies say, with the true error, and the worker goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepflow import AsyncEngine, Engine, RetryPolicy, Status, Steps, flow, named
from stepflow.model.outcome import describe
from stepflow.testing import VirtualClock
from tests.engine.flows import Order, chain
from tests.engine.hostile import BASES, TRAITS, make, makers

STYLES = ("sync", "async", "mixed", "sync limited", "async limited")
POLICIES = ("none", "run", "group", "yes", "no")
TRIES = 3


def failing(style: str, policy: str, maker: Callable[[], BaseException], calls: list[str]) -> Any:
    """A chain whose step raises what `maker` makes."""

    def raising(order: Order) -> None:
        order.log.append("tried")
        calls.append("x")
        raise maker()

    async def araising(order: Order) -> None:
        await asyncio.sleep(0)
        raising(order)

    async def nothing() -> None:
        return None

    attempts = RetryPolicy(max_attempts=TRIES, delay=0)
    limit = 60 if "limited" in style else None
    inner = Steps(Order).do("raise", araising if style.startswith("async") else raising, timeout=limit)
    first: Any = named("x", Order)
    if style == "mixed":
        first = first.do("first", nothing)
    if policy in ("none", "run"):
        return first.steps("s", inner).compile(retry=attempts if policy == "run" else None)
    handlers = {"yes": lambda _error: len(calls) < TRIES, "no": lambda _error: False}
    return first.retry("r", handlers.get(policy, attempts), inner).compile()


def expected(error: BaseException, policy: str) -> int:
    """How often the step is called."""
    return TRIES if issubclass(type(error), Exception) and policy in RETRYING else 1


RETRYING = ("run", "group", "yes")


def check(store: str, clock: VirtualClock | None, style: str, policy: str, maker: Callable[[], BaseException]) -> None:
    calls: list[str] = []
    bad, innocent = failing(style, policy, maker, calls), chain("innocent", "a", "b")
    with Engine(store, clock=clock) as engine:
        engine.register(bad, innocent)
        run, other = engine.start(bad, Order(), id="bad"), engine.start(innocent, Order(), id="good")
        engine.run_until_idle()
        info = run.info()
        assert (info.status, info.owner, info.blocked) == (Status.FAILED, "", None), info
        assert info.error is not None
        assert info.error.type == "Hostile"
        assert "Hostile" in info.error.traceback
        assert len(calls) == expected(maker(), policy)
        assert run.exchange().log == []
        assert other.result(timeout=60).log == ["a", "b"]
        assert engine.health().ok
        run.redrive()
        engine.run_until_idle()
        assert run.status() is Status.FAILED
        assert run.history()[-1].error is not None


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(STYLES), st.sampled_from(POLICIES), makers)
def test_in_virtual_time(style, policy, maker):
    check("memory://", VirtualClock(), style, policy, maker)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(STYLES), st.sampled_from(POLICIES), makers)
def test_in_real_time(style, policy, maker):
    check("memory://", None, style, policy, maker)


@pytest.mark.parametrize("trait", TRAITS)
@pytest.mark.parametrize("base", BASES)
def test_every_error_can_be_described(base, trait):
    error = make(base, trait)
    with suppress(BaseException):
        raise error from make("Exception", trait)
    assert '"type": "Hostile"' in describe(error)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("trait", TRAITS)
@pytest.mark.parametrize("base", ["Exception", "StopIteration", "GeneratorExit", "CancelledError", "ExceptionGroup"])
def test_a_flow_function_may_raise_them_too(base, trait, is_async):
    calls: list[str] = []

    def raising(_ctx: Any) -> Any:
        calls.append("x")
        raise make(base, trait)

    async def araising(ctx: Any) -> Any:
        return raising(ctx)

    function: Any = flow("mutex", retry=RetryPolicy(max_attempts=2, delay=0))(araising if is_async else raising)
    with Engine("memory://", clock=VirtualClock()) as engine:
        engine.register(function)
        run = engine.start(function, id="bad")
        engine.run_until_idle(advance=True)
        info = run.info()
        assert info.status is Status.FAILED
        assert info.error is not None
        assert info.error.type == "Hostile"
        assert len(calls) == (2 if issubclass(BASES[base][0], Exception) else 1)


class Returned:
    """A value that raises when it is asked anything."""

    def __getattribute__(self, _name: str) -> Any:
        raise KeyError("careless")


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("clock", [None, VirtualClock()], ids=["real", "virtual"])
@pytest.mark.parametrize("maker", [Returned, ValueError, StopIteration])
def test_what_a_step_returns_is_ignored(style, clock, maker):
    def returning() -> Any:
        return maker()

    async def areturning() -> Any:
        return maker()

    async def nothing() -> None:
        return None

    chained: Any = named("x").do("a", areturning if style == "async" else returning)
    if style == "mixed":
        chained = chained.do("b", nothing)
    compiled = chained.compile()
    with Engine("memory://", clock=clock) as engine:
        engine.register(compiled)
        run = engine.start(compiled)
        engine.run_until_idle()
        assert run.status() is Status.COMPLETED


def test_the_name_of_an_error_survives_a_coroutine():
    async def first() -> None:
        next(iter([]))

    policy = RetryPolicy(max_attempts=2, delay=0, on=StopIteration)
    compiled = named("x").retry("r", policy, Steps().do("a", first)).compile()
    with Engine("memory://") as engine:
        engine.register(compiled)
        run = engine.start(compiled)
        engine.run_until_idle()
        error = run.info().error
        assert error is not None
        assert error.type == "StopIteration"


def cancel_now(_loop: Any, task: Any) -> None:
    task.cancel()


def cancel_soon(loop: Any, task: Any) -> None:
    loop.call_soon(task.cancel)


def cancel_twice(loop: Any, task: Any) -> None:
    task.cancel()
    loop.call_soon(task.cancel)


CANCELS = (cancel_now, cancel_soon, cancel_twice)


@pytest.mark.parametrize("clock", [None, VirtualClock()], ids=["real", "virtual"])
@pytest.mark.parametrize("waits", [0, 1, 2])
@pytest.mark.parametrize("cancels", CANCELS)
@pytest.mark.parametrize("policy", ["none", "group"])
@pytest.mark.parametrize("follow", ["sync", "async", "nothing"])
def test_a_step_that_cancels_its_own_task_is_never_repeated_without_a_count(clock, waits, cancels, policy, follow):
    calls: list[str] = []

    async def cancelling() -> None:
        calls.append("x")
        cancels(asyncio.get_running_loop(), asyncio.current_task())
        for _ in range(waits):
            await asyncio.sleep(0)

    async def after() -> None:
        calls.append("after")
        await asyncio.sleep(0)

    attempts = RetryPolicy(max_attempts=TRIES, delay=0)
    inner: Any = Steps().do("cancel", cancelling)
    base: Any = named("x")
    base = base.retry("r", attempts, inner) if policy == "group" else base.steps("s", inner)
    if follow != "nothing":
        base = base.do("after", after if follow == "async" else lambda: calls.append("after"))
    compiled, innocent = base.compile(), chain("innocent", "a")

    async def program() -> None:
        async with AsyncEngine("memory://", clock=clock) as engine:
            engine.register(compiled, innocent)
            run = await engine.start(compiled, id="bad")
            await asyncio.wait_for(engine.run_until_idle(), 60)
            info = await run.info()
            assert info.status.final
            assert info.owner == ""
            assert calls.count("x") == 1
            if info.status is Status.FAILED:
                assert info.error is not None
                assert info.error.type == "CancelledError"
            else:
                assert calls.count("after") == (follow != "nothing")
            other = await engine.start(innocent, Order())
            await engine.run_until_idle()
            assert (await other.result()).log == ["a"]

    asyncio.run(program())
