"""Schedules: what explain says of ticks that start no run, which rule decides queued ticks, and when a flow function goes on."""

from __future__ import annotations

from datetime import timedelta

import pytest

from stepflow import Command, Engine, StateCtx, commit, delay, flow, park
from stepflow.testing import VirtualClock
from tests.engine.flows import Order
from tests.engine.test_schedules import DAY, HOUR, QUICK, START, go, ids, naps


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


@pytest.fixture
def engine(store, clock):
    with Engine(store, clock=clock) as engine:
        engine.register(QUICK, naps)
        yield engine


def test_a_tick_that_is_missed_already_is_not_announced(engine, clock):
    schedule = engine.schedule("s", QUICK, Order(), every=HOUR)
    clock.advance(timedelta(hours=2, minutes=30))
    assert "its next tick is 2026-03-28T03:00:00Z" in schedule.explain()
    assert "the tick 2026-03-28T02:00:00Z started no run: no worker looked at it" in schedule.explain()
    engine.run_until_idle()
    assert schedule.info().skipped == START + 2 * HOUR


def test_the_log_says_why_ticks_were_missed_also_if_later_ones_were_skipped(engine, clock, caplog):
    engine.schedule("s", QUICK, Order(), every=HOUR, catch_up=timedelta(hours=3))
    clock.advance(timedelta(hours=5, minutes=30))
    engine.run_until_idle()
    (missed,) = [one.getMessage() for one in caplog.records if "were missed" in one.getMessage()]
    assert missed.endswith("were missed: no worker looked at it within 10860 s (catch_up=)")


def test_a_paused_flow_is_named(engine):
    schedule = engine.schedule("s", QUICK, Order(), every=HOUR)
    engine.pause_flow(QUICK)
    go(engine, HOUR)
    assert "flow 'quick' was paused, no worker takes its runs: `stepflow resume --flow 'quick'`" in schedule.explain()
    engine.resume_flow(QUICK)
    assert "paused" not in schedule.explain()


@pytest.mark.parametrize(
    ("changed", "begun"),
    [
        ({"overlap": "skip"}, ["02", "06", "10"]),
        ({"overlap": "cancel"}, ["02", "04", "06", "08", "10"]),
        ({"overlap": "queue", "every": DAY}, ["02", "04"]),
    ],
)
def test_queued_ticks_are_decided_by_the_rule_of_the_newest_call(engine, changed, begun):
    schedule = engine.schedule("s", naps, 3, every=2 * HOUR, overlap="queue")
    go(engine, 4.5 * HOUR)
    assert schedule.info().queued == (START + 4 * HOUR,)
    engine.schedule("s", naps, 3, **{"every": 2 * HOUR} | changed)
    go(engine, 6 * HOUR)
    assert schedule.info().queued == ()
    assert [tick[6:8] for tick in ids(schedule)] == begun


@pytest.mark.parametrize(("overlap", "begun"), [("skip", [1, 3, 5]), ("queue", [1, 3, 5]), ("cancel", [1, 2, 3, 4, 5])])
def test_a_parked_flow_function_does_not_go_on(engine, overlap, begun):
    @flow("parks")
    def parks(ctx: StateCtx) -> Command:
        if ctx.delayed_until is None:
            return commit(park(ctx), delay(ctx, "parks", timedelta(minutes=90)))
        return commit(park(ctx))

    engine.register(parks)
    schedule = engine.schedule("s", parks, every=HOUR, overlap=overlap)
    go(engine, 5.1 * HOUR)
    if overlap != "queue":
        assert ids(schedule) == [f"03-28T0{hour}:00:00Z" for hour in begun]
        return
    assert ids(schedule) == [f"03-28T0{hour}:00:00Z" for hour in (1, 2, 3)]
    assert [run.created_at for run in reversed(schedule.runs())] == [START + hours * HOUR for hours in (1, 2.5, 4)]


def test_the_next_tick_cancels_its_forerunner_and_no_run_of_a_backfill(engine, clock):
    schedule = engine.schedule("s", naps, 3, every=HOUR, overlap="cancel")
    clock.advance(2.5 * HOUR)
    engine.run_until_idle()
    schedule.backfill(START, clock.datetime())
    go(engine, 2 * HOUR)
    found = {run.id.partition("T")[2]: str(run.status) for run in schedule.runs()}
    assert found == {
        "01:00:00Z": "sleeping",
        "02:00:00Z": "sleeping",
        "03:00:00Z": "cancelled",
        "04:00:00Z": "sleeping",
    }
