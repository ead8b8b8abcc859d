"""Retries: groups with durable attempts and back-off, handlers, and the run's own policy."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from stepflow import Command, Engine, RetryPolicy, RunFailed, StateCtx, Status, Steps, Terminal, current, flow, named
from tests.engine.flows import Broken, Flaky, Order, note, told


def group(step: Any, **policy: Any) -> Any:
    inner = Steps(Order).do("probe", step).do("after", note("after"))
    return named("x", Order).retry("smoke", RetryPolicy(**{"jitter": 0, **policy}), inner).compile()


def test_attempts_and_back_off_are_literal(engine):
    flow = group(Flaky(2), max_attempts=3, delay=2, factor=3)
    engine.register(flow)
    run = engine.start(flow, Order())
    assert engine.run_until_idle(advance=True).completed == 1
    history = run.history()
    assert [told(entry)[0] for entry in history] == [
        ["start:x"],
        ["start:x/smokeRetry", "attempt:2:x/smokeRetry"],
        ["start:x/smokeRetry", "attempt:3:x/smokeRetry"],
        ["completed:x/smokeRetry/probe", "attempt:3:x/smokeRetry"],
        ["completed:x"],
    ]
    assert [(e.at - history[0].at).total_seconds() for e in history] == [0, 0, 2, 8, 8]
    assert [e.error and e.error.type for e in history] == [None, "Broken", "Broken", None, None]


def test_the_last_error_is_the_runs_error(engine):
    flow = group(Flaky(9), max_attempts=2, delay=2)
    engine.register(flow)
    run = engine.start(flow, Order())
    assert engine.run_until_idle(advance=True).failed == 1
    with pytest.raises(RunFailed, match=r"Broken: call 2 \[in step x/smokeRetry/probe\]"):
        run.result()
    assert run.info().position == ["start:x/smokeRetry", "attempt:2:x/smokeRetry"]


def test_attempts_survive_restarts(store, clock):
    flow = group(Flaky(9), max_attempts=4, delay=10, factor=1)
    calls = []
    for _ in range(4):
        with Engine(store, clock=clock) as engine:
            engine.register(flow)
            run = engine.start(flow, Order(), id="one")
            calls.append(engine.run_until_idle().failed)
            status, due = run.status(), run.info().due
        if status is Status.SLEEPING:
            assert due == clock.datetime() + timedelta(seconds=10)
        clock.advance(10)
    assert calls == [0, 0, 0, 1]


@pytest.mark.parametrize(("on", "calls"), [(Broken, 2), (KeyError, 1), ((KeyError, Broken), 2)])
def test_only_the_named_errors_are_retried(engine, on, calls):
    step = Flaky(9)
    flow = group(step, max_attempts=2, delay=0, on=on)
    engine.register(flow)
    engine.start(flow, Order())
    assert engine.run_until_idle().failed == 1
    assert step.calls == calls


def test_an_outer_group_takes_over_and_resets_the_inner(engine):
    step = Flaky(3)
    inner = Steps(Order).retry("in", RetryPolicy(max_attempts=2, delay=0), Steps(Order).do("probe", step))
    flow = named("x", Order).retry("out", RetryPolicy(max_attempts=2, delay=0), inner).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    assert engine.run_until_idle().completed == 1
    assert [told(entry)[0] for entry in run.history()] == [
        ["start:x"],
        ["start:x/outRetry/inRetry", "attempt:2:x/outRetry/inRetry"],
        ["start:x/outRetry", "attempt:2:x/outRetry"],
        ["start:x/outRetry/inRetry", "attempt:2:x/outRetry/inRetry", "attempt:2:x/outRetry"],
        ["completed:x"],
    ]


@pytest.mark.parametrize("is_async", [False, True])
def test_handlers_decide_and_may_be_async(engine, is_async):
    seen: list[str] = []

    def handler(order: Order, error: Exception) -> bool:
        seen.append(str(error))
        order.log.append("handled")
        return len(seen) < 3

    async def ahandler(order: Order, error: Exception) -> bool:
        return handler(order, error)

    flow = named("x", Order).retry("r", ahandler if is_async else handler, Steps(Order).do("s", Flaky(2))).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    assert engine.run_until_idle().completed == 1
    assert seen == ["call 1", "call 2"]
    assert run.result().log == ["handled", "handled", "try 3"]  # what the failed tries changed is dropped
    assert [told(entry)[0] for entry in run.history()][1:3] == [["start:x/rRetry"], ["start:x/rRetry"]]


def test_the_runs_own_policy_tries_the_step_again_with_the_last_exchange(engine):
    step = Flaky(2)
    chain = named("x", Order).do("pack", note("pack")).do("pay", step).do("ship", note("ship"))
    flow = chain.compile(retry=RetryPolicy(max_attempts=3, delay=4, factor=2, jitter=0))
    engine.register(flow)
    run = engine.start(flow, Order())
    engine.run_until_idle()
    info = run.info()
    assert (info.status, info.attempt, info.waiting_for, info.error.type) == (Status.SLEEPING, 2, "delay", "Broken")
    assert engine.run_until_idle(advance=True).completed == 1
    assert run.result().log == ["pack", "try 3", "ship"]
    history = run.history()
    assert [e.position[0] for e in history] == [
        "start:x",
        "completed:x/pack",
        "completed:x/pack",
        "completed:x/pack",
        "completed:x/pay",
        "completed:x",
    ]
    assert [(e.at - history[0].at).total_seconds() for e in history] == [0, 0, 0, 4, 12, 12]


def test_the_runs_own_policy_gives_up(engine):
    step = Flaky(9)
    flow = named("x", Order).do("pay", step).compile(retry=RetryPolicy(max_attempts=3, delay=4))
    engine.register(flow)
    run = engine.start(flow, Order())
    assert engine.run_until_idle(advance=True).failed == 1
    assert step.calls == 3
    run.redrive()  # a new set of attempts
    assert engine.run_until_idle(advance=True).failed == 1
    assert step.calls == 6


def test_the_runs_own_policy_comes_after_the_groups(engine):
    step = Flaky(4)
    inner = Steps(Order).do("pay", step)
    chain = named("x", Order).retry("r", RetryPolicy(max_attempts=2, delay=1), inner)
    flow = chain.compile(retry=RetryPolicy(max_attempts=4, delay=10))
    engine.register(flow)
    engine.start(flow, Order())
    assert engine.run_until_idle(advance=True).completed == 1
    assert step.calls == 5


def test_jitter_is_the_same_at_every_look(store, clock):
    dues = []
    for _ in range(2):
        with Engine(store, clock=clock, namespace=f"n{len(dues)}") as engine:
            flow = group(Flaky(1), delay=100, jitter=0.5)
            engine.register(flow)
            run = engine.start(flow, Order(), id="one")
            engine.run_until_idle()
            dues.append(run.info().due)
    assert dues[0] == dues[1]
    assert 50 <= (dues[0] - clock.datetime()).total_seconds() <= 150


def test_current_counts_the_attempts_and_keeps_its_key(engine):
    seen: list[Any] = []

    def probe() -> None:
        here = current()
        seen.append((here.run_id, here.flow, here.step, here.key, here.attempt))
        if len(seen) < 3:
            raise Broken("no")

    flow = named("x", Order).retry("r", RetryPolicy(delay=5), Steps(Order).do("probe", probe)).compile()
    engine.register(flow)
    engine.start(flow, Order(), id="one")
    engine.run_until_idle(advance=True)
    key = ("one", "x", "rRetry/probe", "x/one/rRetry/probe")
    assert seen == [(*key, 1), (*key, 2), (*key, 3)]


@pytest.mark.parametrize("style", ["group", "chain", "function"])
def test_terminal_stops_the_policies_of_every_style(engine, style):
    calls: list[str] = []
    policy = RetryPolicy(max_attempts=5, delay=1)

    def step(_order: Order) -> None:
        calls.append("step")
        raise Terminal("card stolen")

    @flow("x")
    def function(_ctx: StateCtx) -> Command:
        calls.append("function")
        raise Terminal("card stolen")

    chain = named("x", Order).do("pay", step)
    flows: dict[str, Any] = {
        "group": named("x", Order).retry("again", policy, Steps(Order).do("pay", step)).compile(),
        "chain": chain.compile(retry=policy),
        "function": function,
    }
    engine.register(flows[style])
    run = engine.start(flows[style]) if style == "function" else engine.start(flows[style], Order())
    assert engine.run_until_idle(advance=True).failed == 1
    assert (len(calls), run.info().error.type) == (1, "Terminal")
