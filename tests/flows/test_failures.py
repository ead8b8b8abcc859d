"""Flow functions that fail: retried, failed, redriven; and what `explain` says meanwhile."""

from __future__ import annotations

from datetime import timedelta

import pytest

from stepflow import (
    Engine,
    RetryPolicy,
    RunFailed,
    StateCtx,
    Status,
    commit,
    delay,
    flow,
    park,
    transit,
)
from stepflow.drivers.port.commit import Owner
from stepflow.engine.clock import utc_text
from tests.flows.simple import idling, parking

ENABLED = "flowstate.recovery.enabled"
ATTEMPTS = "flowstate.recovery.max_attempts"
RETRY = "flowstate.recovery.retry_after"
GHOST = Owner("ghost", "elsewhere", 1)


def test_a_function_that_fails_with_recovery_disabled_is_left_alone(engine, calls):
    @flow("broken")
    def broken(ctx):
        calls[ctx.id] += 1
        ctx.annotations["lost"] = "yes"
        raise ValueError("no")

    engine.register(broken)
    ctx = StateCtx("a", {}, {ENABLED: "false"})
    engine.do(delay(ctx, "broken", 1))
    engine.run_until_idle(advance=True)
    assert calls == {"a": 1}
    assert engine.get_state("a").annotations == {ENABLED: "false"}


@pytest.mark.parametrize(("limit", "count"), [(None, 3), ("4", 4), ("1", 1), ("0", 3), ("x", 3)])
def test_a_function_that_brings_nothing_on_is_failed(engine, clock, calls, limit, count):
    engine.register(idling(calls))
    engine.do(commit(transit(StateCtx("a", {}, {} if limit is None else {ATTEMPTS: limit}), "aFlow")))
    clock.advance(120)
    engine.run_until_idle(advance=True)
    assert calls["a"] == count
    info = engine.get("a").info()
    assert info.status is Status.FAILED
    assert "made no commit" in info.error.message
    assert info.to == "aFlow"


def test_a_redriven_state_returns_to_the_function_that_failed(engine, calls):
    broken = [True]

    @flow("start")
    def start(ctx):
        return commit(transit(ctx, "pay", amount="7"))

    @flow("pay", retry=RetryPolicy(max_attempts=2, delay=5, jitter=0))
    def pay(ctx):
        calls[ctx.annotation("amount")] += 1
        if broken:
            raise ConnectionError("bank is closed")
        return commit(park(ctx, paid="yes"))

    engine.register(start, pay)
    run = engine.start(start, id="a")
    engine.run_until_idle()
    info = run.info()
    assert (info.status, info.waiting_for, info.attempt, info.to) == (Status.SLEEPING, "delay", 2, "pay")
    assert (info.due - info.updated_at) == timedelta(seconds=5)
    assert "attempt 2 after ConnectionError: bank is closed" in run.explain()
    idle = engine.run_until_idle(advance=True)
    assert (idle.failed, run.status(), calls) == (1, Status.FAILED, {"7": 2})
    with pytest.raises(RunFailed, match="ConnectionError: bank is closed"):
        run.result()
    assert [i.id for i in engine.runs(status="failed")] == ["a"]
    broken.clear()
    run.redrive()
    engine.run_until_idle()
    assert (run.status(), calls) == (Status.PARKED, {"7": 3})
    assert engine.get_state("a").annotation("paid") == "yes"


def test_an_error_that_the_policy_does_not_name_fails_at_once(engine, calls):
    @flow("pay", retry=RetryPolicy(on=ConnectionError))
    def pay(ctx):
        calls["pay"] += 1
        raise KeyError("amount")

    engine.register(pay)
    run = engine.start(pay)
    engine.run_until_idle(advance=True)
    assert (run.status(), calls["pay"]) == (Status.FAILED, 1)


def test_a_success_resets_the_failures(engine, calls):
    @flow("first")
    def first(ctx):
        calls["first"] += 1
        if calls["first"] < 3:
            raise ValueError("no")
        return commit(transit(ctx, "second"))

    @flow("second")
    def second(ctx):
        calls["second"] += 1
        if calls["second"] < 3:
            raise ValueError("no")
        return commit(park(ctx))

    engine.register(first, second)
    run = engine.start(first)
    engine.run_until_idle(advance=True)
    assert (run.status(), calls) == (Status.PARKED, {"first": 3, "second": 3})


def test_status_and_explanation_of_states(engine, clock, calls):
    engine.register(parking(calls))
    parked, delayed, woken = StateCtx("parked"), StateCtx("delayed"), StateCtx("woken")
    engine.do(
        commit(park(parked)),
        commit(transit(delayed, "aFlow"), delay(delayed, "aFlow", 60)),
        commit(park(woken), delay(woken, "aFlow", 90)),
    )
    assert engine.get("parked").status() is Status.PARKED
    assert "it stays here until a commit moves it" in engine.get("parked").explain()
    for run_id, wait in (("delayed", 60), ("woken", 90)):
        info = engine.get(run_id).info()
        assert (info.status, info.waiting_for) == (Status.SLEEPING, "delay")
        assert info.due - clock.datetime() == timedelta(seconds=wait)
        assert f"it goes on at {utc_text(info.due)}" in engine.get(run_id).explain()
    engine.run_until_idle(advance=True)
    assert calls == {"delayed": 1, "woken": 1}
    assert engine.get("delayed").info().due is None


def test_cancel(engine, clock, calls):
    engine.register(parking(calls))
    run = engine.start(parking(calls), at=clock.datetime() + timedelta(hours=1))
    run.cancel()
    engine.run_until_idle(advance=True)
    assert (run.status(), calls) == (Status.CANCELLED, {})


def test_a_state_continues_where_its_flow_is_registered(store, engine, clock, calls):
    @flow("here")
    def here(ctx):
        return transit(ctx, "aFlow", note="kept")

    engine.register(here)
    run = engine.start(here, id="a")
    engine.run_until_idle()
    assert run.status() is Status.QUEUED
    assert "this process has not registered flow 'aFlow'" in run.explain()
    with Engine(store, clock=clock) as other:
        other.register(parking(calls))
        other.run_until_idle()
    assert calls == {"a": 1}
