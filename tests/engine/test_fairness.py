"""Flows that have due runs take turns for the slots of a worker; priority, due and id order the runs of one flow."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from stepflow import Engine, Limit, named
from tests.engine.flows import Order


def recording(name: str, log: list[str], **options: Any) -> Any:
    return named(name, Order).do("a", lambda: log.append(name)).do("b", lambda: None).compile(**options)


@pytest.mark.parametrize("options", [{}, {"concurrency": 1}, {"concurrency": 64}])
@pytest.mark.parametrize("limit", [(), Limit("key", 1)])
def test_a_backlog_keeps_no_other_flow_waiting(engine, options, limit):
    log: list[str] = []
    long, short, third = recording("long", log, **options), recording("short", log), recording("third", log)
    engine.register(long, short, third)
    engine.start_many(long, [(None, Order()) for _ in range(60)], limits=limit)
    for flow in (short, third):
        engine.start_many(flow, [(None, Order()) for _ in range(10)])
    engine.run_until_idle()
    assert Counter(log[:30]) == {"long": 10, "short": 10, "third": 10}
    assert log[30:] == ["long"] * 50


def test_a_negative_priority_goes_before_all_turns(engine):
    log: list[str] = []
    long, short = recording("long", log), recording("short", log)
    engine.register(long, short)
    engine.start_many(long, [(None, Order()) for _ in range(5)])
    engine.start_many(short, [(None, Order()) for _ in range(3)], priority=9)
    engine.start_many(long, [(None, Order()) for _ in range(4)], priority=-1)
    engine.run_until_idle()
    assert log[:4] == ["long"] * 4
    assert Counter(log[4:10]) == {"long": 3, "short": 3}


@pytest.mark.parametrize("concurrency", [1, 8])
def test_slots_are_shared_also_when_one_flow_holds_all_of_them(store, concurrency):
    """Slots that become free one by one go to the flow that holds the fewest."""
    log: list[str] = []
    long, short = recording("long", log), recording("short", log)
    with Engine(store, concurrency=concurrency) as engine:
        engine.register(long, short)
        engine.start_many(long, [(None, Order()) for _ in range(400)])
        engine.start_many(short, [(None, Order()) for _ in range(20)])
        engine.run_until_idle()
    assert log.index("short") < 2 * concurrency
    assert max(n for n, name in enumerate(log) if name == "short") < 40 + 4 * concurrency
