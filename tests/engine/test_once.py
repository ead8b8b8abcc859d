"""once() and aonce(): a call of a step is made once, whatever happens to the step after that."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import define

from stepflow import (
    AsyncEngine,
    Current,
    Engine,
    RetryPolicy,
    RunFailed,
    Status,
    StepflowError,
    Steps,
    current,
    named,
)
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.journal import JournalQuery
from stepflow.drivers.port.store import Driver
from tests.engine.flows import Broken, Order

AGAIN = RetryPolicy(max_attempts=5, delay=1, factor=1, jitter=0)
NO_WAIT = RetryPolicy(max_attempts=5, delay=0, factor=1, jitter=0)


@define
class Receipt:
    """What a call gives back."""

    number: int
    at: datetime


def receipt(number: int) -> Receipt:
    calls.append(number)
    return Receipt(number, datetime(2026, 1, number, tzinfo=UTC))


calls: list[Any] = []


@pytest.fixture(autouse=True)
def forget_calls() -> None:
    calls.clear()


def keys(store: Driver, run_id: str) -> list[str]:
    session = store.connect("", Owner("looks", "host", 1), 0)
    (rows,) = session.read(JournalQuery((run_id,)))
    session.close()
    return [row.key for row in rows]


class Long:
    """A step of `calls` calls, which raises behind each of them in its first attempts."""

    def __init__(self, number: int = 3, error: type[Exception] = Broken) -> None:
        self.number, self.left, self.error, self.attempts = number, number - 1, error, 0

    def __call__(self, order: Order) -> None:
        self.attempts += 1
        for n in range(1, self.number + 1):
            found = current().once(f"call-{n}", receipt, n)
            assert found == Receipt(n, datetime(2026, 1, n, tzinfo=UTC))
            order.log.append(f"{n}")
            if n == self.attempts and self.left:
                self.left -= 1
                raise self.error

    async def later(self, order: Order) -> None:
        self.attempts += 1
        for n in range(1, self.number + 1):
            found = await current().aonce(f"call-{n}", areceipt if n % 2 else receipt, n)
            assert found == Receipt(n, datetime(2026, 1, n, tzinfo=UTC))
            order.log.append(f"{n}")
            if n == self.attempts and self.left:
                self.left -= 1
                raise self.error


async def areceipt(number: int) -> Receipt:
    await asyncio.sleep(0)
    return receipt(number)


def chain_of(style: str, retry: str) -> Any:
    long = Long()
    step = long if style == "sync" else long.later
    steps: Any = named("x", Order).do("first", lambda: None)
    if style == "mixed":
        steps = steps.do("async", areceipt_step)
    if retry == "group":
        return steps.retry("r", NO_WAIT, Steps(Order).do("again", count).do("long", step)).do("last", look).compile()
    return steps.do("long", step).do("last", look).compile(retry=AGAIN)


async def areceipt_step(order: Order) -> None:
    await asyncio.sleep(0)


def count(order: Order) -> None:
    calls.append("again")


def look(order: Order) -> None:
    order.log.append("last")


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("retry", ["run", "group"])
@pytest.mark.parametrize("style", ["sync", "async", "mixed"])
def test_each_call_is_made_once_over_all_retries_of_its_step(store, clock, style, retry, real):
    flow = chain_of(style, retry)
    if real and retry == "run":
        flow = chain_of(style, "group")  # without a sleep
    with Engine(store, clock=None if real else clock) as engine:
        engine.register(flow)
        run = engine.start(flow, Order(), id="one")
        idle = engine.run_until_idle() if real else engine.run_until_idle(advance=True)
        assert idle.completed == 1
        assert run.result().log == ["1", "2", "3", "last"]
    assert [call for call in calls if call != "again"] == [1, 2, 3]
    assert keys(store, "one") == []


@pytest.mark.parametrize("commit_on_loop", [False, True])
def test_async_steps_make_calls_side_by_side(store, commit_on_loop):
    async def both(order: Order) -> None:
        here = current()
        found = await asyncio.gather(here.aonce("a", areceipt, 1), here.aonce("b", areceipt, 2))
        order.log += [str(one.number) for one in found]

    flow = named("x", Order).do("both", both).compile()

    async def test() -> None:
        async with AsyncEngine(store, commit_on_loop=commit_on_loop) as engine:
            engine.register(flow)
            runs = [await engine.start(flow, Order()) for _ in range(20)]
            assert (await engine.run_until_idle()).completed == 20
            assert [(await run.result()).log for run in runs] == [["1", "2"]] * 20

    asyncio.run(test())
    assert sorted(calls) == [1] * 20 + [2] * 20


def test_a_redrive_goes_on_behind_the_last_call(store, clock):
    flow = named("x", Order).do("long", Long(2)).compile()
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow, Order(), id="one")
        engine.run_until_idle()
        assert run.status() is Status.FAILED
        assert keys(store, "one") == ["long:call-1"]
        run.redrive()
        engine.run_until_idle()
        assert run.status() is Status.COMPLETED
    assert calls == [1, 2]
    assert keys(store, "one") == []


def test_each_pass_of_a_loop_begins_empty(engine):
    inner = Steps(Order).do("pass", lambda order: order.log.append(str(current().once("n", receipt, 1).number)))
    flow = named("x", Order).loop_until("three", lambda order: len(order.log) == 3, inner).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    engine.run_until_idle()
    assert run.result().log == ["1", "1", "1"]
    assert calls == [1, 1, 1]


def test_a_poll_keeps_its_calls_until_it_is_met(engine, clock):
    seen: list[int] = []

    def ready(_order: Order) -> bool:
        seen.append(current().once("submit", receipt, 1).number)
        return len(seen) == 3

    flow = named("x", Order).wait_for("ready", ready, every=1).do("last", look).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    engine.run_until_idle(advance=True)
    assert run.status() is Status.COMPLETED
    assert (calls, seen) == ([1], [1, 1, 1])


def test_what_a_call_raises_is_not_recorded(engine):
    tries: list[int] = []

    def flaky() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise Broken
        return 7

    def step(order: Order) -> None:
        for _ in range(3):
            try:
                order.amount = current().once("flaky", flaky)
            except Broken:
                continue

    flow = named("x", Order).do("step", step).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    engine.run_until_idle()
    assert run.result().amount == 7


def refused_once(engine: Engine, fn: Callable[[Current], Any]) -> str:
    flow = named("x", Order).do("step", lambda order: fn(current()) and None).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    engine.run_until_idle()
    with pytest.raises(RunFailed) as failure:
        run.result()
    return str(failure.value)


async def asleep() -> None:
    """An async function."""


@pytest.mark.parametrize(
    ("fn", "text"),
    [
        (
            lambda here: (here.once("k", receipt, 1), here.once("k", receipt, 1)),
            "'k'): this attempt of the step has used",
        ),
        (lambda here: here.once("", receipt, 1), "give a key"),
        (lambda here: here.once("x" * 501, receipt, 1), "at most 500 bytes"),
        (lambda here: here.once("\ud800", receipt, 1), "halves of surrogate pairs"),
        (lambda here: here.once("k", object), "annotate what the function returns"),
        (lambda here: here.once("k", lambda: (1, 2)), "annotate what the function returns"),
        (lambda here: here.once("k", asleep), "is async: await current().aonce()"),
        (lambda here: here.once("k", 5), "not callable"),
    ],
)
def test_bad_calls_fail_the_step_with_the_reason(engine, fn, text):
    assert text in refused_once(engine, fn)


def test_a_call_outside_of_its_step_is_refused(engine):
    kept: list[Current] = []
    errors: list[str] = []

    def refused(verb: Callable[[], Any]) -> None:
        try:
            verb()
        except StepflowError as error:
            errors.append(str(error))

    def step(_order: Order) -> None:
        here = current()
        kept.append(here)
        thread = threading.Thread(target=refused, args=(lambda: here.once("k", receipt, 1),))
        thread.start()
        thread.join()

    flow = named("x", Order).do("step", step).compile()
    engine.register(flow)
    engine.start(flow, Order())
    assert engine.run_until_idle().completed == 1
    refused(lambda: kept[0].once("k", receipt, 1))
    assert ["in a thread that the step started" in error for error in errors] == [True, True]
    assert calls == []


def test_a_sync_call_in_an_async_step_is_refused(store):
    errors: list[str] = []

    async def step(_order: Order) -> None:
        for call in (
            lambda: current().once("k", receipt, 1),
            lambda: asyncio.to_thread(current().once, "k", receipt, 1),
        ):
            try:
                if (found := call()) is not None:
                    await found
            except StepflowError as error:
                errors.append(str(error))

    flow = named("x", Order).do("step", step).compile()

    async def test() -> None:
        async with AsyncEngine(store) as engine:
            engine.register(flow)
            await engine.start(flow, Order())
            assert (await engine.run_until_idle()).completed == 1

    asyncio.run(test())
    assert "would block the event loop" in errors[0]
    assert "another thread" in errors[1]
    assert calls == []


def test_another_function_under_a_key_blocks_the_run(store, clock):
    def other(number: int) -> int:
        return number

    fail = [True]

    def step(_order: Order) -> None:
        current().once("pay", receipt if fail else other, 1)
        if fail:
            raise Broken

    flow = named("x", Order).do("step", step).compile(retry=AGAIN)
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow, Order(), id="one")
        engine.run_until_idle()
        fail.clear()
        clock.advance(1)
        engine.run_until_idle()
        assert run.status() is Status.BLOCKED
        blocked = str(run.info().blocked)
        assert "has the value of 'receipt'" in blocked
        assert "calls 'test_another_function_under_a_key_blocks_the_run.<locals>.other'" in blocked
        fail.append(True)
        run.redrive()
        engine.run_until_idle()
        assert run.status() is Status.SLEEPING
    assert calls == [1]


def test_a_step_that_lost_its_claim_cannot_write(store, clock):
    errors: list[Exception] = []
    thief = store.connect("", Owner("thief", "host", 1), 0)

    def step(_order: Order) -> None:
        me = next(peer.owner.id for peer in thief.beat(clock.now()).peers)
        thief.beat(clock.now(), [me])
        try:
            current().once("k", receipt, 1)
        except Exception as error:
            errors.append(error)
            raise

    flow = named("x", Order).do("step", step).compile(retry=AGAIN)
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow, Order(), id="one")
        engine.run_until_idle()
        assert {type(error).__name__ for error in errors} == {"LostClaim"}
        assert run.status() is Status.FAILED  # its owner died again and again
    thief.close()
    assert keys(store, "one") == []
