"""Very long durations: accepted, stored and shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from stepflow import RetryPolicy, Status, Steps, named
from tests.engine.flows import Flaky, Order, chain

BASE: Any = named("x", Order)
FLOWS: dict[str, Any] = {
    "poll": BASE.wait_for("w", lambda: False, every=1e15),
    "poll with time-out": BASE.wait_for("w", lambda: False, every=timedelta.max, timeout=timedelta.max),
    "event": BASE.wait_event("w", "paid", int, lambda _o, _p: None, timeout=timedelta.max),
    "group": BASE.retry("r", RetryPolicy(delay=1e300, max_delay=1e300), Steps(Order).do("f", Flaky(99))),
}


@pytest.mark.parametrize("name", FLOWS)
def test_ages_are_a_due_time_like_others(engine, name):
    flow = FLOWS[name].compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    idle = engine.run_until_idle()
    assert (idle.completed, idle.failed, idle.waiting) == (0, 0, 1)
    due = run.info().due
    assert due is not None
    assert due == idle.next_due
    assert due.year > 7000
    assert due.isoformat()[:4] in run.explain()
    run.cancel()
    assert run.status() is Status.CANCELLED


def test_a_retry_of_the_run_may_wait_for_years_too(engine):
    flow = BASE.do("f", Flaky(99)).compile(retry=RetryPolicy(delay=1e300, max_delay=1e300))
    engine.register(flow)
    run = engine.start(flow, Order())
    engine.run_until_idle()
    assert run.info().due.year > 7000


def test_the_last_moment_of_the_calendar_is_a_start_time(engine):
    flow = chain("x", "a")
    engine.register(flow)
    at = datetime.max.replace(tzinfo=UTC)
    assert engine.start(flow, Order(), at=at).info().due == at
    assert engine.start(flow, Order(), at=datetime(1, 1, 1, tzinfo=UTC)).status() is Status.QUEUED
    assert engine.run_until_idle().completed == 1


@pytest.mark.parametrize("hours", [-23, -5, 14])
def test_a_start_outside_of_the_calendar_of_utc_is_kept_at_its_end(engine, hours):
    """Lists, explanations and workers of all other runs go on."""
    zone = timezone(timedelta(hours=hours))
    flow = BASE.wait_event("w", "paid", int, lambda _o, _p: None, timeout=timedelta.max).compile()
    engine.register(flow)
    run = engine.start(flow, Order(), at=datetime.max.replace(tzinfo=zone))
    past = engine.start(flow, Order(), at=datetime.min.replace(tzinfo=zone))
    assert {info.id for info in engine.runs()} == {run.id, past.id}
    assert run.info().due.year == 9999
    assert run.explain()
    engine.run_until_idle()
    assert engine.run_until_idle(advance=True).failed == 2
