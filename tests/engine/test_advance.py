"""run_until_idle(advance=True): it ends, by itself or with an error that names what goes on."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pytest

from stepflow import Engine, RetryPolicy, StateCtx, Status, StepflowError, delay, flow, named
from stepflow.engine.clock import utc_text
from tests.engine.flows import Flaky, Order


@flow("cron.v1")
def cron(ctx: StateCtx) -> object:
    return delay(ctx, "cron.v1", 60)


ENDLESS = {
    "a poll": named("x", Order).wait_for("w", lambda: False, every=60).compile(),
    "a policy": named("x", Order)
    .do("f", Flaky(10**9))
    .compile(retry=RetryPolicy(max_attempts=10**9, delay=60, factor=1)),
}


@pytest.mark.parametrize("name", ["a poll", "a policy"])
def test_what_goes_on_for_ever_is_an_error_that_names_the_run(engine, name):
    engine.register(ENDLESS[name])
    engine.start(ENDLESS[name], Order(), id="endless")
    with pytest.raises(StepflowError, match=r"after 20 jumps .* run 'endless' of flow 'x' .* give until="):
        engine.run_until_idle(advance=True, max_jumps=20)
    engine.run_until_idle(advance=True, until=timedelta(minutes=5))  # it goes on from there


def test_a_function_that_delays_itself_for_ever_has_a_bound_too(engine):
    engine.register(cron)
    engine.start(cron, id="cron")
    with pytest.raises(StepflowError, match=r"after 20 jumps .* a delay of 'cron' is due at"):
        engine.run_until_idle(advance=True, max_jumps=20)


def test_too_few_jumps_for_a_bound_in_time_are_an_error_that_names_the_bound(engine, clock):
    engine.register(cron)
    engine.start(cron, id="cron")
    end = utc_text(clock.datetime() + timedelta(minutes=31))
    with pytest.raises(StepflowError, match=rf"after 20 jumps .* it is not {re.escape(end)} .* larger max_jumps="):
        engine.run_until_idle(advance=True, until=timedelta(minutes=31), max_jumps=20)


def test_as_many_jumps_as_there_are_times_before_the_bound_suffice(engine, clock):
    start = clock.datetime()
    engine.register(cron)
    engine.start(cron, id="cron")
    engine.run_until_idle(advance=True, until=timedelta(seconds=630), max_jumps=10)
    assert clock.datetime() - start == timedelta(seconds=630)


def test_a_bound_in_time_stops_the_clock_there(engine, clock):
    start = clock.datetime()
    engine.register(ENDLESS["a poll"])
    run = engine.start(ENDLESS["a poll"], Order())
    idle = engine.run_until_idle(advance=True, until=timedelta(seconds=150))
    assert clock.datetime() == start + timedelta(seconds=150)
    assert idle.next_due == start + timedelta(seconds=180)
    assert run.status() is Status.WAITING
    engine.run_until_idle(advance=True, until=start + timedelta(seconds=240))
    assert clock.datetime() == start + timedelta(seconds=240)


def test_what_ends_needs_no_bound(engine):
    ends = named("x", Order).wait_for("w", lambda: False, every=60, timeout=timedelta(hours=6)).compile()
    engine.register(ends)
    engine.start(ends, Order())
    assert engine.run_until_idle(advance=True).failed == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"until": timedelta(1)}, "needs advance=True"),
        ({"advance": True, "until": 5}, "until=5: give a timedelta"),
        ({"advance": True, "until": datetime(2030, 1, 1)}, "an aware datetime"),  # noqa: DTZ001
        ({"advance": True, "until": timedelta(-1)}, "not negative"),
        ({"advance": True, "max_jumps": 0}, "max_jumps=0"),
        ({"advance": True, "max_jumps": True}, "max_jumps=True"),
    ],
)
def test_bad_bounds(engine, options, told):
    with pytest.raises(StepflowError, match=told):
        engine.run_until_idle(**options)


def test_time_needs_a_virtual_clock(store):
    with Engine(store) as engine, pytest.raises(StepflowError, match="virtual clock"):
        engine.run_until_idle(advance=True)
