"""What makes the outcome of a call of once() unknown that is made at most once, and what does not."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from stepflow import (
    AsyncEngine,
    Engine,
    StateCtx,
    Status,
    StepflowError,
    commit,
    current,
    flow,
    named,
    park,
    transit,
)
from tests.engine.flows import Broken, Order
from tests.engine.intended import AGAIN, STYLES, Shop, begun, ended, flow_of, interrupted
from tests.engine.test_time_limits import AT_ONCE, until


@pytest.mark.parametrize("style", ["chain", "achain"])
def test_a_time_limit_makes_the_outcome_unknown(engine, clock, style):
    shop = Shop()

    def slow(price: int) -> int:
        clock.advance(20)
        return shop.pay(price)

    def step() -> None:
        current().once("pay", slow, 7, at_most_once=True)
        current().once("after", slow, 7)

    async def astep() -> None:
        await current().aonce("pay", aslow, 7, at_most_once=True)

    async def aslow(price: int) -> int:
        slow(price)
        await asyncio.get_running_loop().create_future()  # the limit ends it here
        return price

    made = named("f", Order).do("step", astep if style == "achain" else step, timeout=5).compile(retry=AGAIN)
    engine.register(made)
    run = engine.start(made, Order(), id="one")
    engine.run_until_idle()
    if style == "chain":  # under a virtual clock a sync step comes to its end: so does the call
        assert (shop.made, run.info().blocked) == (2, None)
        return
    info = run.info()
    assert (shop.made, info.status, info.blocked.kind) == (1, Status.BLOCKED, "unknown_outcome")
    assert "did not end within 5 s" in info.blocked.text
    run.resolve("pay", 1)
    engine.run_until_idle()
    assert (shop.made, run.status()) == (1, Status.COMPLETED)


@pytest.mark.parametrize("style", ["chain", "mixed"])
def test_a_call_whose_thread_goes_on_behind_the_time_limit_of_its_step_has_an_unknown_outcome(store, style):
    made, over, goes_on = list[int](), threading.Event(), threading.Event()

    def pay() -> int:
        made.append(1)
        assert over.wait(60)
        return 1

    def step() -> None:
        try:
            current().once("pay", pay, at_most_once=True)
        finally:
            goes_on.set()

    async def other() -> None:
        """Makes the attempt run on the event loop."""

    steps: Any = named("f", Order)
    made_flow = (
        (steps.do("other", other) if style == "mixed" else steps).do("step", step, timeout=0.2).compile(retry=AT_ONCE)
    )
    with Engine(store) as engine:
        engine.register(made_flow)
        run = engine.start(made_flow, Order(), id="one")
        with engine.worker():
            until(lambda: run.status() is Status.BLOCKED)
            over.set()
            assert goes_on.wait(60)
            info = run.info()
            assert info.blocked.kind == "unknown_outcome"
            assert len(made) <= 1  # the limit may pass before the intent is written: then the call does not begin
            assert "did not end within 0.2 s" in info.blocked.text
            run.resolve("pay", 1)
            run.result(timeout=60)
    assert len(made) == 1


@pytest.mark.parametrize("style", STYLES)
def test_a_call_that_returned_what_cannot_be_stored_is_not_made_again(engine, style):
    made: list[int] = []

    def pay() -> Any:
        made.append(1)
        return {1, 2}

    async def apay() -> Any:
        return pay()

    def step() -> None:
        current().once("pay", pay, at_most_once=True)

    async def astep() -> None:
        await current().aonce("pay", apay, at_most_once=True)

    run = begun(engine, style, astep if style.startswith("a") else step, retry=AGAIN)
    engine.run_until_idle(advance=True)
    info = run.info()
    assert (len(made), info.status, info.blocked.kind) == (1, Status.BLOCKED, "unknown_outcome")
    assert "it returned, but what it returned cannot be stored" in info.blocked.text
    run.resolve("pay", [1])
    engine.run_until_idle(advance=True)
    assert (len(made), run.status()) == (1, ended(style))


@pytest.mark.parametrize("ending", ["returns", "raises", "exits", "calls again"])
@pytest.mark.parametrize("style", ["achain", "afunction"])
def test_a_call_that_the_step_itself_cancels_blocks_the_run_however_the_step_ends(engine, style, ending):
    made: list[int] = []
    resolved: list[int] = []
    begins = asyncio.Event()

    async def pay() -> int:
        made.append(1)
        begins.set()
        await asyncio.get_running_loop().create_future()
        return 1

    async def astep() -> None:
        if resolved:
            assert await current().aonce("pay", pay, at_most_once=True) == 5
            return
        task = asyncio.ensure_future(current().aonce("pay", pay, at_most_once=True))
        await begins.wait()
        task.cancel()
        await asyncio.wait([task])
        if ending == "raises":
            raise Broken("later")
        if ending == "exits":
            raise SystemExit
        if ending == "calls again":
            await current().aonce("pay", pay, at_most_once=True)

    run = begun(engine, style, astep, retry=AGAIN)
    engine.run_until_idle(advance=True)
    info = run.info()
    assert (len(made), info.status, info.blocked.kind) == (1, Status.BLOCKED, "unknown_outcome")
    assert "it was interrupted (CancelledError)" in info.blocked.text
    resolved.append(1)
    run.resolve("pay", 5)
    engine.run_until_idle(advance=True)
    assert (len(made), run.status()) == (1, ended(style))


@pytest.mark.parametrize("at_most_once", [False, True])
@pytest.mark.parametrize("style", ["achain", "afunction"])
def test_a_cancel_does_not_interrupt_the_call_and_reaches_the_step_behind_it(store, style, at_most_once):
    made: list[str] = []

    async def test() -> None:
        async with AsyncEngine(store) as engine:

            async def pay() -> int:
                made.append("begins")
                await engine.get("one").cancel()
                await asyncio.sleep(0)
                made.append("ends")
                return 1

            async def astep() -> None:
                await current().aonce("pay", pay, at_most_once=at_most_once)
                await asyncio.get_running_loop().create_future()

            flow = flow_of(style, astep)
            engine.register(flow)
            run = await engine.start(flow, *([Order()] if "chain" in style else []), id="one")
            await engine.run_until_idle()
            assert await run.status() is Status.CANCELLED

    asyncio.run(test())
    assert made == (["begins", "ends"] if at_most_once else ["begins"])


@pytest.mark.parametrize("style", ["achain", "afunction"])
def test_calls_side_by_side_are_resolved_one_after_the_other(engine, style):
    made: list[str] = []
    both = asyncio.Event()

    async def pay(name: str) -> int:
        made.append(name)
        if len(made) == 2:
            raise KeyboardInterrupt
        await both.wait()
        return 1

    found: list[int] = []

    async def astep() -> None:
        here = current()
        found[:] = await asyncio.gather(*(here.aonce(key, pay, key, at_most_once=True) for key in "ab"))

    run = begun(engine, style, astep)
    with pytest.raises(KeyboardInterrupt):
        engine.run_until_idle()
    engine.run_until_idle()
    for key, value in (("b", 2), ("a", 1)):
        assert run.status() is Status.BLOCKED
        run.resolve(key, value)
        engine.run_until_idle()
    assert (run.status(), found, sorted(made)) == (ended(style), [1, 2], ["a", "b"])


def test_a_step_that_is_called_at_most_once_itself_has_one_intent(engine):
    shop = Shop(KeyboardInterrupt())
    made = named("f", Order).do("step", shop.step, at_most_once=True).compile()
    engine.register(made)
    run = engine.start(made, Order(), id="one")
    with pytest.raises(KeyboardInterrupt):
        engine.run_until_idle()
    engine.run_until_idle()
    assert "the outcome of step 'step' is unknown" in run.info().blocked.text
    run.resolve("step")
    engine.run_until_idle()
    assert (shop.made, run.status()) == (1, Status.COMPLETED)


def test_no_commit_of_the_function_forgets_a_call_that_goes_on(engine):
    errors: list[str] = []

    @flow("f")
    async def f(ctx: StateCtx, states: Any) -> Any:
        async def pay() -> int:
            for command in (commit(transit(ctx, "f", half="yes")), commit(park(ctx), transit(StateCtx("two"), "f"))):
                try:
                    await states.do(command)
                except StepflowError as error:
                    errors.append(str(error))
            return 1

        assert await current().aonce("pay", pay, at_most_once=True) == 1
        return commit(park(ctx, done="yes"))

    engine.register(f)
    engine.start(f, id="one")
    engine.run_until_idle()
    assert ["its call 'pay' is made at most once" in error for error in errors] == [True, True]
    assert engine.get_state("one").annotation("done") == "yes"


def test_a_function_that_another_commit_moved_is_not_blocked_by_what_it_left(engine, store):
    shop, run = interrupted(engine, "function")
    engine.do(commit(transit(engine.get_state("one"), "f")))
    with pytest.raises(StepflowError, match="no call of unknown outcome"):
        run.resolve("pay")
    engine.execute(engine.get_state("one"))
    assert (shop.made, run.status()) == (2, Status.PARKED)


def test_what_a_caller_executes_is_blocked_at_once(engine):
    shop = Shop(KeyboardInterrupt())
    engine.register(flow_of("function", shop.step))
    state = StateCtx("one")
    engine.do(commit(transit(state, "f")))
    with pytest.raises(KeyboardInterrupt):
        engine.execute(state)
    run = engine.get("one")
    assert (run.status(), run.info().blocked.kind) == (Status.BLOCKED, "unknown_outcome")
    run.resolve("pay", 4)
    engine.run_until_idle()
    assert (shop.made, shop.found, run.status()) == (1, [4], Status.PARKED)


def test_a_blocked_function_that_is_redriven_keeps_its_values(engine):
    shop = Shop()
    first = shop.pay
    code: list[Any] = [first]

    def other(price: int) -> int:
        return price

    def step() -> None:
        current().once("a", first, 1)
        current().once("b", code[0], 1)
        if code[0] is first:
            raise KeyboardInterrupt

    run = begun(engine, "function", step)
    with pytest.raises(KeyboardInterrupt):
        engine.run_until_idle()
    code[0] = other
    engine.run_until_idle()
    assert run.info().blocked.kind == "definition"
    code[0] = lambda price: price
    run.redrive()
    engine.run_until_idle()
    assert (shop.made, run.status()) == (2, Status.PARKED)


def test_at_most_once_is_true_or_false(engine):
    shop = Shop()
    run = begun(engine, "chain", lambda: current().once("k", shop.pay, 1, at_most_once="yes") and None)  # type: ignore[arg-type]
    engine.run_until_idle()
    assert "at_most_once='yes': give True or False" in run.info().error.message
    assert shop.made == 0
