"""A failed attempt leaves no trace in the exchange: what is saved comes from steps that ended, and from a handler that retries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from stepflow import Engine, RetryPolicy, Steps, named
from stepflow.testing import VirtualClock
from tests.engine.flows import Order


@define
class Work:
    """An exchange whose parts can be changed in place."""

    done: list[str] = field(factory=list)
    seen: dict[str, list[int]] = field(factory=dict)
    handled: list[str] = field(factory=list)


def failing(name: str, failures: int) -> Callable[[Work], None]:
    """A step that changes everything it can reach, and fails in its first calls."""
    left = [failures]

    def step(work: Work) -> None:
        work.done.append(name)
        work.seen.setdefault(name, []).append(left[0])
        left[0] -= 1
        if left[0] >= 0:
            work.handled.append(f"trace of {name}")
            raise ConnectionError(name)

    return step


def accepting(name: str, accepted: bool) -> Callable[[Work, Exception], bool]:
    def handler(work: Work, _error: Exception) -> bool:
        work.handled.append(name)
        return accepted

    return handler


@settings(max_examples=60, deadline=None)
@given(
    failures=st.lists(st.integers(0, 2), min_size=1, max_size=3),
    inner=st.sampled_from(["policy", "yes", "no", "none"]),
    outer=st.sampled_from(["policy", "yes", "run"]),
    is_async=st.booleans(),
    real=st.booleans(),
)
def test_only_what_ended_is_saved(failures, inner, outer, is_async, real):
    policy = RetryPolicy(max_attempts=20, delay=0)
    steps: Any = Steps(Work)
    for number, count in enumerate(failures):
        steps = steps.do(f"s{number}", failing(f"s{number}", count))

    async def nothing() -> None:
        return None

    chained: Any = named("x", Work).do("first", nothing if is_async else lambda: None)
    if inner != "none":
        decides = policy if inner == "policy" else accepting("inner", inner == "yes")
        steps = Steps(Work).retry("in", decides, steps)
    if outer == "run":
        compiled = chained.steps("all", steps).compile(retry=policy)
    else:
        decides = policy if outer == "policy" else accepting("outer", accepted=True)
        compiled = chained.retry("out", decides, steps).compile()
    with Engine("memory://", clock=None if real else VirtualClock()) as engine:
        engine.register(compiled)
        run = engine.start(compiled, Work())
        engine.run_until_idle()
        work = run.result(timeout=60)
        failed = sum(failures)
        accepted = {"yes": "inner", "policy": ""}.get(inner, "outer" if outer == "yes" else "")
        assert work.handled == [accepted] * failed if accepted else work.handled == []
        for number, count in enumerate(failures):
            name = f"s{number}"
            # a group begins anew, so steps that ended before the failing one are done again; the run's own retry goes on
            rounds = 1 + sum(failures[number + 1 :]) if inner in ("policy", "yes") or outer != "run" else 1
            assert work.done.count(name) == rounds, (work, count)


def test_a_handler_gets_the_exchange_of_the_last_commit(engine):
    got: list[list[str]] = []

    def inner(order: Order) -> bool:
        got.append([*order.log])
        order.log.append("inner")
        return False

    def outer(order: Order, error: Exception) -> bool:
        got.append([*order.log])
        order.log.append("outer")
        return isinstance(error, ValueError) and len(got) == 2

    def step(order: Order) -> None:
        order.log.append("half")
        if len(got) < 2:
            raise ValueError

    first = named("x", Order).do("a", lambda order: order.log.append("a"))
    steps = Steps(Order).retry("in", lambda order, _error: inner(order), Steps(Order).do("b", step))
    flow = first.retry("out", outer, steps).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    engine.run_until_idle()
    assert got == [["a"], ["a"]]
    assert run.result().log == ["a", "outer", "half"]


def test_a_handler_that_raises_leaves_no_trace(engine):
    def handler(order: Order, _error: Exception) -> bool:
        order.log.append("handler")
        raise KeyError

    def step(order: Order) -> None:
        order.log.append("half")
        raise ValueError

    flow = named("x", Order).retry("r", handler, Steps(Order).do("b", step)).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    engine.run_until_idle()
    assert run.exchange().log == []
    assert run.info().error.type == "KeyError"


def test_plain_apply_cannot_restore():
    def step(order: Order) -> None:
        order.log.append("half")
        if len(order.log) < 2:
            raise ValueError

    order = Order()
    flow = named("x", Order).retry("r", lambda _error: True, Steps(Order).do("b", step)).compile()
    state: list[str] = []
    while not flow.is_completed(state):
        state = flow.apply(state, order)
    assert order.log == ["half", "half"]


@pytest.mark.parametrize("real", [False, True])
def test_a_poll_that_raises_leaves_no_trace(store, clock, real):
    calls: list[int] = []

    def ready(order: Order) -> bool:
        order.log.append("look")
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionError
        return True

    policy = RetryPolicy(max_attempts=5, delay=0)
    flow = named("x", Order).retry("r", policy, Steps(Order).wait_for("w", ready)).compile()
    with Engine(store, clock=None if real else clock) as engine:
        engine.register(flow)
        run = engine.start(flow, Order())
        engine.run_until_idle()
        assert run.result(timeout=60).log == ["look"]
