"""Flows of each style whose step makes a call of once() at most once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stepflow import (
    Engine,
    RetryPolicy,
    StateCtx,
    Status,
    commit,
    current,
    flow,
    named,
    park,
)
from tests.engine.flows import Order

STYLES = ["chain", "achain", "function", "afunction"]
AGAIN = RetryPolicy(max_attempts=3, delay=1, jitter=0)


class Shop:
    """A payment, whose first call raises what `error` is, within a step that makes other calls, too."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.made, self.error, self.began, self.after = 0, error, 0, 0
        self.found: list[int] = []
        self.late: list[BaseException] = []  # raised behind the payment

    def pay(self, price: int) -> int:
        self.made += 1
        if self.error is not None and self.made == 1:
            raise self.error
        return price

    async def apay(self, price: int) -> int:
        await asyncio.sleep(0)
        return self.pay(price)

    def step(self) -> None:
        self.began += 1
        here = current()
        here.once("before", int)
        self.found.append(here.once("pay", self.pay, 7, at_most_once=True))
        if self.late:
            raise self.late.pop()
        self.after += 1

    async def astep(self) -> None:
        self.began += 1
        here = current()
        await here.aonce("before", int)
        self.found.append(await here.aonce("pay", self.apay, 7, at_most_once=True))
        if self.late:
            raise self.late.pop()
        self.after += 1


def flow_of(style: str, step: Callable[[], Any], retry: RetryPolicy = RetryPolicy(max_attempts=1)) -> Any:  # noqa: B008
    """A flow of each style with this step."""
    if "chain" in style:
        return named("f", Order).do("first", lambda: None).do("step", step).compile(retry=retry)
    if style == "function":

        @flow("f", retry=retry)
        def function(ctx: StateCtx) -> Any:
            step()
            return commit(park(ctx))

        return function

    @flow("f", retry=retry)
    async def afunction(ctx: StateCtx) -> Any:
        await step()
        return commit(park(ctx))

    return afunction


def begun(engine: Engine, style: str, step: Callable[[], Any], **more: Any) -> Any:
    made = flow_of(style, step, **more)
    engine.register(made)
    return engine.start(made, *([Order()] if "chain" in style else []), id="one")


def ended(style: str) -> Status:
    return Status.COMPLETED if "chain" in style else Status.PARKED


def step_of(style: str, shop: Shop) -> Any:
    return shop.astep if style.startswith("a") else shop.step


def interrupted(engine: Engine, style: str, **more: Any) -> tuple[Shop, Any]:
    """A run that is blocked, as its payment was interrupted."""
    shop = Shop(KeyboardInterrupt())
    run = begun(engine, style, step_of(style, shop), **more)
    with pytest.raises(KeyboardInterrupt):
        engine.run_until_idle()
    assert engine.run_until_idle(advance=True).blocked == 1
    info = run.info()
    assert (shop.made, shop.began, info.status, info.blocked.kind) == (1, 1, Status.BLOCKED, "unknown_outcome")
    assert f"the outcome of call 'pay' of '{'step' if 'chain' in style else 'f'}' is unknown" in info.blocked.text
    return shop, run
