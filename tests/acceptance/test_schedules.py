"""I34-I40, G04, G05: schedules start runs, once per tick."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from stepflow import Engine, NotFound, StepflowError
from stepflow.drivers.port.commit import Commit
from stepflow.drivers.port.schedules import ScheduleChange
from stepflow.drivers.port.store import Driver
from stepflow.testing import VirtualClock
from tests.acceptance.conftest import Engines
from tests.acceptance.flows import count, simple
from tests.acceptance.test_concurrency import advance_all
from tests.processes.harness import eventually

TENTH, HALF, YEARLY = timedelta(milliseconds=100), timedelta(milliseconds=500), "0 0 1 1 *"


def go(engine: Engine, time: timedelta) -> None:
    engine.run_until_idle(advance=True, until=time)


def test_i34_an_interval_starts_a_run_at_each_tick(engine: Engine, clock: VirtualClock) -> None:
    schedule = engine.schedule("simple", simple, "x", every=TENTH)
    go(engine, HALF)
    info = schedule.info()
    assert (count("greet"), engine.tally()) == (5, {"simple": {"completed": 5}})
    assert (info.last, info.next) == (clock.datetime(), clock.datetime() + TENTH)


def test_i35_a_cron_expression_that_is_due_starts_a_run(engine: Engine, clock: VirtualClock) -> None:
    engine.schedule("s", simple, "x", cron="*/5 * * * *")
    clock.advance(timedelta(minutes=5))
    engine.run_until_idle()
    assert count("greet") == 1


def test_i36_several_workers_start_one_run_per_tick(engines: Engines, clock: VirtualClock) -> None:
    some = engines(3)
    some[0].schedule("s", simple, "x", every=timedelta(milliseconds=80))
    for _ in range(6):
        clock.advance(timedelta(milliseconds=80))
        advance_all(some)
    assert (count("greet"), len(some[0].get_schedule("s").runs())) == (6, 6)


def test_i37_a_pause_starts_nothing_and_resume_goes_on(engine: Engine, clock: VirtualClock) -> None:
    schedule = engine.schedule("s", simple, "x", every=TENTH)
    go(engine, 2 * TENTH)
    schedule.pause()
    go(engine, HALF)
    clock.advance(HALF)
    assert count("greet") == 2
    schedule.resume()
    go(engine, 2 * TENTH)
    assert count("greet") == 4


def test_i38_made_and_deleted_at_run_time(engine: Engine) -> None:
    go(engine, HALF)
    assert count("greet") == 0
    schedule = engine.schedule("s", simple, "x", every=TENTH)
    go(engine, HALF)
    schedule.delete()
    go(engine, HALF)
    assert count("greet") == 5
    with pytest.raises(NotFound):
        engine.get_schedule("nobody").delete()


def test_i39_a_worker_hears_of_a_schedule_that_another_engine_makes(store: Driver) -> None:
    with Engine(store) as worker, Engine(store) as client:
        worker.register(simple)
        with worker.worker():
            client.schedule("s", simple, "x", every=timedelta(milliseconds=60), catch_up=timedelta(minutes=5))
            eventually(lambda: count("greet") > 0)


def test_i40_a_schedule_of_a_year_that_is_triggered_starts_one_run(engine: Engine, clock: VirtualClock) -> None:
    engine.schedule("s", simple, "x", cron=YEARLY).trigger()
    engine.run_until_idle()
    clock.advance(timedelta(milliseconds=300))
    engine.run_until_idle()
    assert count("greet") == 1


def test_g04_a_schedule_that_cannot_be_read_does_not_stop_the_others(engine: Engine) -> None:
    (made,) = engine._engine._session.store.commit([Commit(schedule=ScheduleChange("broken", 0, 0, "nonsense"))], 1)
    assert not isinstance(made, Exception)
    engine.schedule("good", simple, "x", every=HALF)
    go(engine, HALF)
    assert count("greet") == 1
    go(engine, HALF)  # it does not come up again and again either
    assert count("greet") == 2


@pytest.mark.parametrize("timing", [{"cron": "soon"}, {"every": "soon"}, {"cron": object()}, {}])
def test_g05_a_timing_that_cannot_be_read_again_is_refused_and_nothing_is_stored(
    engine: Engine, timing: dict[str, Any]
) -> None:
    with pytest.raises(StepflowError):
        engine.schedule("s", simple, "x", **timing)
    assert engine.schedules() == []
