"""The runs of the library's own flows are in no list, count or warning, unless these are asked for the flow by its name."""

from __future__ import annotations

import pytest
from attrs import define

from stepflow import Context, RunFilter, named, workflow
from stepflow.engine.client import finder
from stepflow.model.flow import Flow
from stepflow.model.host import HOST_FLOW
from stepflow.model.own_flows import OWN_FLOWS
from stepflow.model.topic import TOPIC, TOPIC_FLOW


@define
class Order:
    number: int


order_flow = named("order.v1", Order).do("ship", lambda order: None).compile()


@workflow("reads.v1")
def reads(wf: Context) -> str:
    return wf.wait_for_topic("rate", "rates", str)


def publish(engine, count):
    for number in range(count):
        engine.publish_topic("rates", str(number), id=str(number))


def test_the_table_has_all_of_them():
    own = [one for one in Flow.__subclasses__() if one.__module__.startswith("stepflow.model.") and one.kind in ("topic", "host")]  # fmt: skip
    assert {type(TOPIC_FLOW), type(HOST_FLOW)} == set(own)
    assert {TOPIC_FLOW.name, HOST_FLOW.name} == OWN_FLOWS


@pytest.mark.parametrize("order", ["created", "id", "updated"])
@pytest.mark.parametrize("ascending", [False, True])
def test_lists_leave_messages_out(engine, order, ascending):
    run = engine.start(order_flow, Order(1))
    publish(engine, 3)
    assert [one.id for one in engine.runs(order=order, ascending=ascending)] == [run.id]
    assert [one.id for one in engine.runs(RunFilter(id_prefix="s"), order=order)] == []
    assert len(engine.runs(flow=TOPIC, order=order)) == 3


def test_lists_by_due_time_leave_messages_out(engine):
    engine.register(reads)
    publish(engine, 3)
    engine.run_until_idle()
    assert engine.runs(order="due") == []
    assert len(engine.runs(flow=TOPIC, order="due")) == 3


def test_a_page_goes_on_behind_messages(engine):
    runs = [engine.start(order_flow, Order(number), id=str(number)).id for number in range(3)]
    publish(engine, finder.AT_ONCE + 10)
    page = engine.runs(limit=2)
    assert list(page) + list(engine.runs(limit=2, cursor=page.next)) == engine.runs()
    assert [one.id for one in engine.runs()] == runs[::-1]


def test_a_page_looks_at_a_bounded_number_of_messages(engine, monkeypatch):
    monkeypatch.setattr(finder, "READ", 20)
    monkeypatch.setattr(finder, "AT_ONCE", 10)
    run = engine.start(order_flow, Order(1))
    publish(engine, 60)
    page, calls = engine.runs(), 1
    while page.next is not None:
        assert page == []
        page, calls = engine.runs(cursor=page.next), calls + 1
    assert [one.id for one in page] == [run.id]
    assert calls > 2


def test_counts_leave_messages_out(engine):
    engine.start(order_flow, Order(1), labels={"a": "b"})
    publish(engine, 3)
    assert engine.tally() == {"order.v1": {"queued": 1}}
    assert engine.tally(labels={"a": "b"}) == {"order.v1": {"queued": 1}}
    assert engine.tally(labels={TOPIC: "rates"}) == {}


def test_verbs_on_many_runs_leave_messages_alone(engine):
    engine.start(order_flow, Order(1), id="order")
    publish(engine, 3)
    assert engine.cancel(RunFilter(open=True), dry_run=False).ids == ["order"]
    assert engine.cancel(RunFilter(flow=TOPIC), dry_run=False).count == 3


def test_what_workers_know_is_told_without_them(engine, session):
    other = session("other")
    other.claim(dict.fromkeys(("other.v1", *OWN_FLOWS), ""), 0, 1)
    other.beat(0)
    told = engine.start(order_flow, Order(1)).explain()
    assert "none has registered flow 'order.v1', but 'other.v1';" in told
