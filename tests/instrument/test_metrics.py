"""The metrics of an engine: each of the table is told, with its attributes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from stepflow import (
    Context,
    Engine,
    Limit,
    MemoryDriver,
    RetryPolicy,
    RevMismatch,
    StateCtx,
    StepFlow,
    Steps,
    commit,
    named,
    transit,
    workflow,
)
from stepflow.drivers.port.commit import Owner
from stepflow.engine.instrument.metrics import METRICS
from stepflow.testing import VirtualClock
from tests.engine.flows import Flaky, Order, note
from tests.instrument.told import Told


def _work(number: int) -> int:
    return number + 1


LIMIT_S = 60
CHAIN = named("order", Order).do("pay", note("pay")).do("ship", note("ship")).compile()


def test_runs_are_counted_by_flow_and_status(told, engine):
    fails = named("fails", Order).do("charge", Flaky(9)).compile()
    engine.register(CHAIN, fails)
    engine.start_many(CHAIN, [(None, Order()), (None, Order())])
    engine.start(fails, Order())
    engine.start(CHAIN, Order(), id="gone").cancel()
    engine.run_until_idle()
    found = told.metrics()
    assert found["stepflow.runs.started"] == {("order",): 3, ("fails",): 1}
    assert found["stepflow.runs.ended"] == {
        ("order", "completed"): 2,
        ("fails", "failed"): 1,
        ("order", "cancelled"): 1,
    }
    assert found["stepflow.run.duration"] == found["stepflow.runs.ended"]
    assert found["stepflow.attempts"] == {("order", "completed"): 2, ("fails", "failed"): 1}


def test_a_start_that_finds_its_run_is_not_counted_again(told, engine):
    for _ in range(2):
        engine.start(CHAIN, Order(), id="one")
    assert told.metrics()["stepflow.runs.started"] == {("order",): 1}


def test_steps_are_measured_and_their_retries_counted(told, engine):
    definition = named("order", Order).retry("r", RetryPolicy(3, delay=1.0), Steps().do("charge", Flaky(2))).compile()
    engine.register(definition)
    engine.start(definition, Order())
    engine.run_until_idle(advance=True)
    found = told.metrics()
    assert found["stepflow.step.duration"] == {
        ("Broken", "order", "rRetry/charge"): 2,
        ("order", "rRetry/charge"): 1,
    }
    assert found["stepflow.steps.retried"] == {("order", "rRetry/charge"): 2}
    assert found["stepflow.steps.active"] == {("order",): 0}


def test_the_keys_of_a_workflow_do_not_become_attributes(told, engine):
    @workflow("signup")
    def signup(wf: Context, number: int) -> int:
        return sum(wf.execute(f"charge {n}", _work, n) for n in range(number))

    engine.register(signup)
    engine.start(signup, 20)
    engine.run_until_idle()
    assert told.metrics()["stepflow.step.duration"] == {("signup", "_work"): 20}


def test_what_is_at_work_is_a_number_that_goes_up_and_down(told):
    seen: list[dict[str, dict[tuple[str, ...], float]]] = []
    definition = named("order", Order).do("look", lambda order: seen.append(told.metrics())).compile()
    with Engine("memory://", concurrency=7, instrument=told.instrument) as engine:
        engine.register(definition)
        engine.start(definition, Order())
        engine.run_until_idle()
    names = ("stepflow.runs.held", "stepflow.steps.active", "stepflow.worker.slots")
    assert [sum(seen[0][name].values()) for name in names] == [1, 1, 7]
    assert [sum(told.metrics()[name].values()) for name in names] == [0, 0, 0]


def test_the_lag_of_the_queue_is_from_the_due_time_to_the_claim(told, engine, clock):
    engine.register(CHAIN)
    engine.start(CHAIN, Order())
    clock.advance(timedelta(seconds=100))
    engine.run_until_idle()
    (point,) = told.points("stepflow.queue.lag")
    assert (point.count, point.sum) == (1, 100.0)


def test_commits_and_claims_are_measured(told, engine):
    engine.register(CHAIN)
    engine.start_many(CHAIN, [(None, Order()) for _ in range(5)])
    engine.run_until_idle()
    found = told.metrics()
    assert found["stepflow.commit.duration"] == found["stepflow.commit.size"]
    assert sum(point.sum for point in told.points("stepflow.commit.size")) == 15
    assert sum(point.sum for point in told.points("stepflow.claim.size")) == 5
    assert found["stepflow.claim.duration"][()] >= 5


def test_what_the_store_refuses_is_counted_by_error(told, engine):
    engine.do(commit(transit(StateCtx("one"), "nowhere")))
    with pytest.raises(RevMismatch):
        engine.do(commit(transit(StateCtx("one"), "elsewhere")))
    assert told.metrics()["stepflow.writes.refused"] == {("RevMismatch",): 1}


def test_events_are_counted_by_name(told, engine):
    engine.start(CHAIN, Order(), id="one")
    for number in (1, 2):
        engine.get("one").publish("payment", number)
    assert told.metrics()["stepflow.events.published"] == {("payment",): 2}


def die(driver: MemoryDriver, clock: VirtualClock) -> None:
    """An owner claims a run of CHAIN and dies."""
    victim = driver.connect("", Owner("victim", "host", 1), clock.now())
    assert victim.claim({CHAIN.name: CHAIN.definition}, clock.now(), 1)
    driver.connect("", Owner("killer", "host", 1), clock.now()).beat(clock.now(), ["victim"])


def test_a_run_whose_holder_died_is_counted(told, clock):
    driver = MemoryDriver()
    with Engine(driver, clock=clock, instrument=told.instrument) as engine:
        engine.register(CHAIN)
        engine.start(CHAIN, Order(), id="one")
        die(driver, clock)
        engine.run_until_idle()
    assert told.metrics()["stepflow.runs.interrupted"] == {("order",): 1}


def waits_behind(step: str) -> StepFlow[Order]:
    """A chain that waits behind a step of this name."""
    chain = named("stuck", Order).do(step, note(step))
    return chain.wait_event("paid", "payment", int, lambda order, amount: None).compile()


def a_bit_of_everything(told: Told) -> None:
    """Let engines do what tells each metric of the table with each of its attributes."""
    driver, clock = MemoryDriver(), VirtualClock()
    retried = named("retried", Order).do("charge", Flaky(1)).compile(retry=RetryPolicy(2, delay=1.0))
    with Engine(driver, clock=clock, instrument=told.instrument) as engine:
        engine.register(CHAIN, retried, waits_behind("old"))
        engine.start(retried, Order())
        engine.start(CHAIN, Order(), id="twice")
        die(driver, clock)
        engine.start(CHAIN, Order(), id="twice")
        stuck = engine.start(waits_behind("old"), Order(), id="stuck")
        engine.run_until_idle(advance=True)
        watch = engine.watch({}, since="latest")
        assert watch.next(LIMIT_S) is not None
        engine.start(CHAIN, Order(), id="limited", limits=[Limit("mail", 1)])
        found = watch.next(LIMIT_S)
        assert found is not None
        assert found.id == "limited"
        engine.run_until_idle()
        stuck.publish("payment", 1)
    with Engine(driver, clock=clock, instrument=told.instrument) as engine:
        engine.register(waits_behind("new"))
        engine.run_until_idle()


def test_the_time_that_limits_keep_runs_is_told(told, clock):
    with Engine("memory://", clock=clock, instrument=told.instrument) as engine:
        engine.register(CHAIN)
        engine.start_many(CHAIN, [(None, Order()), (None, Order())], limits=[Limit("mail", 1)])
        engine.start(CHAIN, Order())
        engine.run_until_idle()
    found = told.metrics()
    assert (found["stepflow.limit.lag"], found["stepflow.queue.lag"]) == ({("order",): 2}, {("order",): 3})


def test_every_metric_of_the_table_is_told_with_its_attributes(told):
    a_bit_of_everything(told)
    assert told.metrics()["stepflow.runs.blocked"] == {("stuck",): 1}
    wanted = {metric.name: set(metric.attributes) for metric in METRICS if metric.kind != "gauge"}
    assert told.attributes() == wanted


def test_the_table_has_names_and_units_of_the_semantic_conventions():
    for metric in METRICS:
        assert metric.name.startswith("stepflow."), metric
        assert metric.unit == "s" or metric.unit.startswith("{"), metric
        assert bool(metric.buckets) == (metric.kind == "histogram"), metric
        assert metric.name.endswith((".duration", ".lag")) == (metric.unit == "s"), metric
    assert len({metric.prometheus for metric in METRICS}) == len(METRICS)
