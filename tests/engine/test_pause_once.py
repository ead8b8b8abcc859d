"""Pause of a run whose step or flow function makes calls of `once` and `aonce`: what has begun comes to its end, and is made once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from stepflow import Engine, RetryPolicy, StateCtx, Status, commit, current, flow, named, park
from stepflow.drivers.port.store import Driver
from stepflow.testing import VirtualClock
from tests.engine.flows import Order

DID: list[str] = []
PAUSE: list[str] = []  # the calls at whose end the run is paused from outside
RESUME: list[str] = []  # those at whose end it is resumed
PAUSED: list[asyncio.Event] = []  # set when "a" has paused the run
OTHER: list[Engine] = []


@pytest.fixture(autouse=True)
def other(store: Driver, clock: VirtualClock) -> Iterator[None]:
    for noted in (DID, PAUSE, RESUME):
        noted.clear()
    PAUSED[:] = [asyncio.Event()]
    with Engine(store, clock=clock) as other:
        OTHER[:] = [other]
        yield


def ends(key: str) -> str:
    if key in PAUSE:
        PAUSE.remove(key)
        OTHER[0].get(current().run_id).pause()
    if key in RESUME:
        OTHER[0].get(current().run_id).resume()
    return key


def did(key: str) -> str:
    DID.append(key)
    return ends(key)


def once(_order: Order) -> None:
    current().once("k", did, "once")
    current().once("l", did, "after once")


async def adid(where: str) -> str:
    return did(where)


async def aonce(_order: Order) -> None:
    await current().aonce("k", adid, "once")
    await current().aonce("l", adid, "after once")


@pytest.mark.parametrize("step", [once, aonce])
@pytest.mark.parametrize("place", ["once", "after once"])
def test_a_step_that_must_not_be_called_again_comes_to_its_end(engine: Engine, step: Any, place: str) -> None:
    chain = named("pays", Order).do("pay", step, at_most_once=True).do("d", lambda _o: did("d")).compile()
    PAUSE.append(place)
    engine.register(chain)
    run = engine.start(chain, Order())
    engine.run_until_idle()
    assert (run.status(), DID) == (Status.PAUSED, ["once", "after once"])
    run.resume()
    engine.run_until_idle()
    assert (run.status(), DID) == (Status.COMPLETED, ["once", "after once", "d"])


async def slow(key: str) -> str:
    """Call "a" ends first and pauses the run; "b" may resume it."""
    DID.append(key)
    for _ in range(10 if key == "a" else 50):
        await asyncio.sleep(0)
    if key != "a":
        await PAUSED[0].wait()  # the intent of "b" may be recorded before that of "a"
        return ends(key)
    try:
        return ends(key)
    finally:
        PAUSED[0].set()


async def calls_beside(grouped: bool) -> None:
    """Four calls of `aonce`, of which at most three go on side by side."""
    DID.append("step")
    here, three = current(), asyncio.Semaphore(3)

    async def one(key: str) -> None:
        async with three:
            await here.aonce(key, slow, key)

    if not grouped:
        await asyncio.gather(*map(one, "abcd"))
        return
    async with asyncio.TaskGroup() as group:
        for key in "abcd":
            group.create_task(one(key))


@flow("f", retry=RetryPolicy(max_attempts=1))
async def function(ctx: StateCtx) -> Any:
    await calls_beside(grouped=False)
    return commit(park(ctx))


@flow("f", retry=RetryPolicy(max_attempts=1))
async def grouping(ctx: StateCtx) -> Any:
    await calls_beside(grouped=True)
    return commit(park(ctx))


async def step(_order: Order) -> None:
    await calls_beside(grouped=False)


async def grouping_step(_order: Order) -> None:
    await calls_beside(grouped=True)


STEPS = [named("s", Order).do("s", fn).compile() for fn in (step, grouping_step)]


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize(
    "style", [*STEPS, function, grouping], ids=["step", "step, group", "function", "function, group"]
)
def test_calls_that_a_step_makes_side_by_side_end_and_none_begins(
    store: Driver, clock: VirtualClock, style: Any, resumed: bool, real: bool
) -> None:
    PAUSE.append("a")
    RESUME[:] = ["b"] if resumed else []
    with Engine(store, clock=None if real else clock) as engine:
        engine.register(style)
        run = engine.start(style, *([Order()] if style in STEPS else []), id="r")
        engine.run_until_idle()
        if not resumed:
            assert (run.status(), DID) == (Status.PAUSED, ["step", "a", "b", "c"])
            run.resume()
            engine.run_until_idle()
        assert run.status() is (Status.COMPLETED if style in STEPS else Status.PARKED), run.explain()
        assert run.info().crashes == 0
    assert {key: DID.count(key) for key in "abcd"} == dict.fromkeys("abcd", 1)
    assert DID.count("step") <= (1 if resumed and not real else 2)


def step_at_most_once(_order: Order) -> None:
    current().once("before", did, "before")
    current().once("pay", did, "pay", at_most_once=True)
    did("after")


async def astep_at_most_once(_order: Order) -> None:
    await current().aonce("before", adid, "before")
    await current().aonce("pay", adid, "pay", at_most_once=True)
    did("after")


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("step", [step_at_most_once, astep_at_most_once])
@pytest.mark.parametrize("place", ["before", "pay"])
def test_a_call_that_is_made_at_most_once_does_not_begin_in_a_paused_run_and_is_kept_by_one(
    store: Driver, clock: VirtualClock, step: Any, place: str, real: bool
) -> None:
    chain = named("s", Order).do("s", step).compile()
    PAUSE.append(place)
    with Engine(store, clock=None if real else clock) as engine:
        engine.register(chain)
        run = engine.start(chain, Order())
        engine.run_until_idle()
        assert (run.status(), DID) == (Status.PAUSED, ["before"] if place == "before" else ["before", "pay"])
        run.resume()
        engine.run_until_idle()
        assert (run.status(), DID) == (Status.COMPLETED, ["before", "pay", "after"])


async def intended_beside() -> None:
    """Four calls that are made at most once, of which at most three go on side by side."""
    here, three, b_begins = current(), asyncio.Semaphore(3), asyncio.Event()

    async def pay(key: str) -> str:
        if key == "b":
            b_begins.set()
        if key == "a":  # which pauses the run at its end
            await b_begins.wait()
        return await slow(key)

    async def one(key: str) -> None:
        async with three:
            await here.aonce(key, pay, key, at_most_once=True)

    await asyncio.gather(*map(one, "abcd"))


async def intended_step(_order: Order) -> None:
    await intended_beside()


@flow("f", retry=RetryPolicy(max_attempts=1))
async def intended_function(ctx: StateCtx) -> Any:
    await intended_beside()
    return commit(park(ctx))


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize(
    "style", [named("s", Order).do("s", intended_step).compile(), intended_function], ids=["step", "function"]
)
def test_calls_that_are_made_at_most_once_side_by_side_end_and_none_begins(
    store: Driver, clock: VirtualClock, style: Any, resumed: bool, real: bool
) -> None:
    PAUSE.append("a")
    RESUME[:] = ["b"] if resumed else []
    with Engine(store, clock=None if real else clock) as engine:
        engine.register(style)
        run = engine.start(style, *([] if style is intended_function else [Order()]), id="r")
        engine.run_until_idle()
        if not resumed:
            assert run.status() is Status.PAUSED
            assert {"a", "b"} <= set(DID) <= {"a", "b", "c"}  # the pause may come before the intent of "c" is recorded
            run.resume()
            engine.run_until_idle()
        assert run.status() is (Status.PARKED if style is intended_function else Status.COMPLETED), run.explain()
    assert sorted(DID) == ["a", "b", "c", "d"]
