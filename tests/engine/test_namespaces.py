"""Namespaces: runs, events, limits and listings of one are invisible in another on the same store."""

from __future__ import annotations

import pytest

from stepflow import Engine, NotFound, Status, named
from tests.engine.flows import Order, chain


def test_the_same_id_is_two_runs(store, clock):
    flow = chain("x", "a")
    with Engine(store, clock=clock, namespace="red") as red, Engine(store, clock=clock, namespace="blue") as blue:
        red.register(flow)
        blue.register(flow)
        first = red.start(flow, Order(1), id="one")
        second = blue.start(flow, Order(2), id="one")
        assert red.run_until_idle().completed == 1
        assert (first.status(), second.status()) == (Status.COMPLETED, Status.QUEUED)
        assert blue.run_until_idle().completed == 1
        assert (first.result().amount, second.result().amount) == (1, 2)
        assert [len(engine.runs()) for engine in (red, blue)] == [1, 1]
        assert red.tally() == {"x": {"completed": 1}}


def test_another_namespace_does_not_have_the_run(store, clock):
    with Engine(store, clock=clock, namespace="red") as red, Engine(store, clock=clock) as none:
        red.start(chain("x", "a"), Order(), id="one")
        run = none.get("one")
        for use in (run.status, run.cancel, run.history, lambda: run.publish("paid")):
            with pytest.raises(NotFound, match="'one' in this namespace"):
                use()
        assert none.runs() == []
        assert none.tally() == {}


def test_pruning_stays_inside(store, clock):
    from datetime import timedelta

    flow = chain("x", "a")
    with Engine(store, clock=clock, namespace="red") as red, Engine(store, clock=clock, namespace="blue") as blue:
        for engine in (red, blue):
            engine.register(flow)
            engine.start(flow, Order(), id="one")
            engine.run_until_idle()
        clock.advance(timedelta(days=2))
        assert red.prune(timedelta(days=1)) == 1
        assert (red.runs(), len(blue.runs())) == ([], 1)


def test_events_stay_inside(store, clock):
    flow = named("x", Order).wait_event("w", "paid", int, lambda _o, _p: None).compile()
    with Engine(store, clock=clock, namespace="a") as a, Engine(store, clock=clock, namespace="b") as b:
        for engine in (a, b):
            engine.register(flow)
            engine.start(flow, Order(), id="one")
        a.get("one").publish("paid", 1)
        assert (a.run_until_idle().completed, b.run_until_idle().completed) == (1, 0)
