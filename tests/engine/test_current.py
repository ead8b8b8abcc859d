"""current(): the same key over retries, crashes and restarts, in sync, async and mixed chains."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stepflow import AsyncEngine, Engine, RetryPolicy, Steps, current, named
from tests.engine.flows import Broken, Order, attempts_into


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("style", ["sync", "async", "mixed"])
def test_every_step_sees_its_own_key(store, clock, style, real):
    seen: list[Any] = []
    look = attempts_into(seen)

    async def alook(order: Order) -> None:
        await asyncio.sleep(0)
        look(order)

    first, second = {"sync": (look, look), "async": (alook, alook), "mixed": (alook, look)}[style]
    flow = named("x/v1", Order).do("a", first).steps("in", Steps(Order).do("b", second)).compile()
    with Engine(store, clock=None if real else clock) as engine:
        engine.register(flow)
        for n in range(10):
            engine.start(flow, Order(), id=f"run-{n}")
        assert engine.run_until_idle().completed == 10
    expected = [(f"x/v1/run-{n}/{step}", step, 1) for n in range(10) for step in ("a", "in/b")]
    assert sorted(seen) == sorted(expected)


def test_handlers_conditions_and_events_have_it_too(engine):
    seen: list[str] = []

    def here(*_args: Any) -> bool:
        seen.append(current().key)
        return True

    def boom() -> None:
        if len(seen) < 3:
            raise Broken("no")

    chain = named("x", Order).wait_for("w", lambda _o: here()).case("c", lambda _o: here(), Steps(Order))
    chain = chain.retry("r", lambda _o, _e: here(), Steps(Order).do("boom", boom))
    flow = chain.wait_event("e", "paid", Any, lambda _o, _p: here() and None).compile()
    engine.register(flow)
    run = engine.start(flow, Order(), id="1")
    run.publish("paid")
    assert engine.run_until_idle().completed == 1
    assert seen == ["x/1/wWaitFor", "x/1/cCase", "x/1/rRetry/boom", "x/1/eWaitEvent"]


def test_the_runs_own_retry_counts(engine):
    attempts: list[int] = []

    def flaky() -> None:
        attempts.append(current().attempt)
        if len(attempts) < 3:
            raise Broken("no")

    after: list[int] = []
    chain = named("x", Order).do("flaky", flaky).do("after", lambda: after.append(current().attempt))
    flow = chain.compile(retry=RetryPolicy(delay=5))
    engine.register(flow)
    engine.start(flow, Order())
    engine.run_until_idle(advance=True)
    assert (attempts, after) == ([1, 2, 3], [1])


def test_outside_of_a_step_there_is_none(engine):
    with pytest.raises(LookupError, match="outside a step"):
        current()


def test_no_step_leaves_it_behind(store):
    async def go() -> None:
        async with AsyncEngine(store) as engine:
            flow = named("x", Order).do("a", attempts_into([])).compile()
            engine.register(flow)
            await engine.start(flow, Order())
            await engine.run_until_idle()
            with pytest.raises(LookupError):
                current()

    asyncio.run(go())


def test_threads_started_by_a_step_can_be_given_it(store):
    seen: list[str] = []

    async def fan_out(_order: Order) -> None:
        await asyncio.gather(*(asyncio.to_thread(lambda: seen.append(current().key)) for _ in range(3)))

    flow = named("x", Order).do("fan", fan_out).compile()
    with Engine(store) as engine:
        engine.register(flow)
        engine.start(flow, Order(), id="one")
        engine.run_until_idle()
    assert seen == ["x/one/fan"] * 3
