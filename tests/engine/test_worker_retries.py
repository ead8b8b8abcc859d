"""A worker and the runs that a commit of its own made due again: they are advanced when they are due, not at the next look."""

from __future__ import annotations

from stepflow import Engine, RetryPolicy, Steps, named
from stepflow.engine.worker import worker as workers
from tests.engine.flows import Order

WAIT_S = 60.0


def test_a_worker_makes_a_retry_when_it_is_due(store, monkeypatch):
    monkeypatch.setattr(workers, "MAX_SLEEP_S", 6.0 * WAIT_S)
    failures = [1]

    def step() -> None:
        if failures:
            raise ValueError(failures.pop())

    group = Steps().do("a", step)
    flow = named("x", Order).retry("group", RetryPolicy(max_attempts=2, delay=0.01), group).compile()
    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow, Order(), id="one")
        with engine.worker():
            assert run.result(WAIT_S) == Order()
