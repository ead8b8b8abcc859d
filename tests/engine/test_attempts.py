"""Attempts: each retry counts from 1 after a redrive and after a retry around it; a retry without a count does not repeat an event."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepflow import Engine, RetryPolicy, Status, Steps, current, named
from stepflow.drivers.port.commit import Commit, Write
from stepflow.testing import VirtualClock
from tests.engine.flows import Broken, Order


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.integers(1, 3), max_size=3),
    own=st.integers(1, 3),
    delay=st.sampled_from([0, 1]),
    redrives=st.integers(0, 2),
    before=st.booleans(),
)
def test_nested_attempts_count_as_in_nested_loops(groups, own, delay, redrives, before):
    """`groups` are the attempts of each retry group, the outermost first, `own` those of the run."""
    called: list[int] = []
    shown: list[int] = []

    def step() -> None:
        called.append(current().attempt)
        raise Broken

    inner: Any = Steps().do("before", lambda: None) if before else Steps()
    inner = inner.do("step", step)
    for depth, attempts in reversed([*enumerate(groups)]):
        inner = Steps().retry(f"r{depth}", RetryPolicy(max_attempts=attempts, delay=delay, factor=1, jitter=0), inner)
    run_policy = RetryPolicy(max_attempts=own, delay=1, factor=1, jitter=0) if own > 1 else None
    flow = named("x").steps("s", inner).compile(retry=run_policy)
    clock = VirtualClock()
    with Engine("memory://", clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow)
        for _ in range(redrives + 1):
            while True:
                engine.run_until_idle()
                if run.status() is Status.FAILED:
                    break
                shown.append(run.info().attempt)
                clock.advance(1)
            run.redrive()
        turn = _numbers(groups)
        turn += [
            turn[-1] + number for number in range(1, own)
        ]  # the run goes on at the failed step, the groups stay used up
        assert called == turn * (redrives + 1)
        if delay:
            assert shown == turn[1:] * (redrives + 1)


def _numbers(groups: list[int]) -> list[int]:
    """The attempts that nested groups make, counted by the innermost one."""
    outer = 1
    for attempts in groups[:-1]:
        outer *= attempts
    return [*range(1, groups[-1] + 1)] * outer if groups else [1]


def test_attempts_grow_with_crashes_in_a_group_too(store, session, clock):
    seen: list[int] = []
    flow = named("x").retry("r", RetryPolicy(), Steps().do("a", lambda: seen.append(current().attempt))).compile()
    with Engine(store, clock=clock) as engine:
        run = engine.start(flow, id="one")
        for crash in range(2):
            victim = session(f"victim-{crash}")
            assert victim.claim({"x": flow.definition}, clock.now(), 1)
            engine._engine._session.store.beat(clock.now(), [f"victim-{crash}"])
        assert run.info().attempt == 3
        engine.register(flow)
        engine.run_until_idle()
        assert seen == [3]


def _die(engine: Engine, session: Any, flow: Any, clock: VirtualClock, times: int) -> None:
    """So many owners claim what is due, and die."""
    for _time in range(times):
        victim = session(token := uuid4().hex)
        assert victim.claim({"x": flow.definition}, clock.now(), 1) or victim.claim(
            {"x": flow.definition}, clock.now(), 1, suspects=True
        )
        engine._engine._session.store.beat(clock.now(), [token])


@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize("delay", [0, 1])
def test_attempts_grow_over_deaths_and_failures(store, session, clock, group, delay):
    """Deaths, a failure, deaths, a failure: no number of an attempt comes twice."""
    seen: list[int] = []

    def fail() -> None:
        seen.append(current().attempt)
        if len(seen) < 3:
            raise Broken

    policy = RetryPolicy(max_attempts=9, delay=delay, factor=1, jitter=0)
    first = named("x").do("first", lambda: None)
    flow = (
        first.retry("r", policy, Steps().do("fail", fail)).do("last", lambda: seen.append(current().attempt)).compile()
        if group
        else first.do("fail", fail).do("last", lambda: seen.append(current().attempt)).compile(retry=policy)
    )
    with Engine(store, clock=clock) as engine:
        run = engine.start(flow, id="one")
        _die(engine, session, flow, clock, 1)
        engine.register(flow)
        engine.run_until_idle()
        if delay:
            for _failure in range(2):
                clock.advance(max(delay, 0.01))
                _die(engine, session, flow, clock, 2)
                assert run.info().attempt == seen[-1] + 3
                engine.run_until_idle()
            assert seen == [1, 4, 7, 1]
        else:
            assert seen == [1, 2, 3, 1]


def test_an_attempt_that_was_interrupted_counts(store, clock):
    seen: list[int] = []

    def stop() -> None:
        seen.append(current().attempt)
        if len(seen) < 3:
            raise KeyboardInterrupt

    flow = named("x").do("a", stop).do("b", lambda: seen.append(current().attempt)).compile()
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow, id="one")
        for _time in range(2):
            with pytest.raises(KeyboardInterrupt):
                engine.run_until_idle()
        assert run.info().attempt == 3
        engine.run_until_idle()
        assert seen == [1, 2, 3, 1]


def test_a_death_after_a_commit_counts_for_the_step_that_had_begun(store, session, clock):
    seen: list[int] = []
    flow = named("x").do("a", lambda: None).do("b", lambda: seen.append(current().attempt)).compile()
    with Engine(store, clock=clock) as engine:
        run = engine.start(flow, id="one")
        for name in ("one", "two"):
            victim = session(name)
            (claim,) = victim.claim({"x": flow.definition}, clock.now(), 1)
            if claim.row.unfinished == 0:
                (record,) = victim.load(["one"])
                move = flow.resume(record.state.transition).tasks[0].after_return(None, None)
                victim.commit(
                    [Commit(claim.fence, writes=(Write(record.state._replace(transition=move.transition)),))],
                    clock.now(),
                )
            engine._engine._session.store.beat(clock.now(), [name])
        assert (run.info().attempt, run.info().crashes) == (3, 1)
        engine.register(flow)
        engine.run_until_idle()
        assert seen == [3]


@pytest.mark.parametrize("latch", [False, True])
@pytest.mark.parametrize("real", [False, True])
def test_a_handler_that_always_says_yes_takes_each_event_once(store, clock, latch, real):
    got: list[int] = []

    def take(order: Order, payload: int) -> None:
        got.append(payload)
        order.log.append(f"half of {payload}")
        if payload < 3:
            raise Broken

    wait = Steps(Order).wait_event("w", "paid", int, take, latch=latch)
    flow = named("x", Order).retry("r", lambda _error: True, wait).compile()
    with Engine(store, clock=None if real else clock) as engine:
        engine.register(flow)
        run = engine.start(flow, Order())
        for payload in (1, 2):
            run.publish("paid", payload)
            engine.run_until_idle()
            assert run.status() is Status.WAITING
        run.publish("paid", 3)
        engine.run_until_idle()
        assert (run.result(timeout=60).log, got) == (["half of 3"], [1, 2, 3])
