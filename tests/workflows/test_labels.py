"""Labels that a workflow gives itself: once each, durable, indexed, beside those that the library gives."""

from __future__ import annotations

from typing import Any

import pytest

from stepflow import AsyncContext, Context, Engine, RunKey, workflow
from stepflow.drivers.port.store import Driver
from stepflow.testing import VirtualClock


@workflow("labels")
def labels(wf: Context) -> str:
    wf.set_labels("first", {"stage": "packed", "by": "ada"})
    wf.sleep("s", 10)
    wf.set_labels("second", {"stage": "sent", "by": None})
    wf.sleep("t", 10)
    return wf.run_key(8).shard


@workflow("alabels")
async def alabels(wf: AsyncContext) -> str:
    await wf.set_labels("first", {"stage": "packed", "by": "ada"})
    await wf.sleep("s", 10)
    await wf.set_labels("second", {"stage": "sent", "by": None})
    await wf.sleep("t", 10)
    return wf.run_key(8).shard


@pytest.mark.parametrize("flow", [labels, alabels], ids=lambda flow: flow.name)
def test_labels_are_set_once_each_and_found(store: Driver, clock: VirtualClock, flow: Any) -> None:
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow, id="run-123", labels={"tenant": "a"})
        engine.run_until_idle()
        assert run.info().labels == {"tenant": "a", "stage": "packed", "by": "ada"}
        clock.advance(10)
        engine.run_until_idle()
        assert run.info().labels == {"tenant": "a", "stage": "sent"}
        assert [one.id for one in engine.runs(labels={"stage": "sent"})] == ["run-123"]
        assert engine.runs(labels={"stage": "packed"}) == engine.runs(labels={"by": "ada"}) == []
        engine.run_until_idle(advance=True)
        assert run.info().labels == {"tenant": "a", "stage": "sent"}
        assert run.result() == RunKey.of(flow.name, "run-123", 8).shard == f"{flow.name}_3"
    assert store.maintenance("").check() == []


def test_a_child_keeps_its_parent_whatever_labels_it_sets(store: Driver, clock: VirtualClock) -> None:
    @workflow("parent")
    def parent(wf: Context) -> str:
        return wf.result("r", wf.start_child("c", labels, labels={"by": "parent"}))

    with Engine(store, clock=clock) as engine:
        engine.register(parent, labels)
        run = engine.start(parent, id="p")
        engine.run_until_idle(advance=True)
        assert run.status() == "completed"
        (child,) = engine.runs(parent="p")
        assert (child.id, child.labels, child.parent) == ("p/c", {"stage": "sent"}, "p")


@pytest.mark.parametrize(
    "wrong", [{"stepflow.parent": "x"}, {"stepflow.parent": None}, {"a": 1}, {"": "x"}, "text", None]
)
def test_wrong_labels_block_the_run(store: Driver, clock: VirtualClock, wrong: Any) -> None:
    @workflow("wrong")
    def flow(wf: Context) -> None:
        wf.set_labels("l", wrong)

    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        assert run.status() == "blocked"
        assert "wf.set_labels('l', " in str(run.info().blocked)
        assert run.info().labels == {}
