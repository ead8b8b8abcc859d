"""Ids make starts idempotent: the same input returns the same run, another input raises RunExists."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field
from typing import Any

import attrs
import pytest

from stepflow import AsyncEngine, Engine, Run, RunExists, Status, named
from tests.engine.flows import Order, chain


@attrs.define
class Wide:
    """Order in the next version: one more field, with a default."""

    amount: int = 1
    log: list[str] = attrs.field(factory=list)
    express: bool = False


@dataclass
class Data:
    amount: int = 1
    log: list[str] = field(default_factory=list)


def test_the_same_start_again_is_the_same_run(engine):
    flow = chain("order", "pack")
    engine.register(flow)
    first = engine.start(flow, Order(5), id="one", labels={"tenant": "a"})
    engine.run_until_idle()
    again = engine.start(flow, Order(5), id="one", labels={"tenant": "b"}, priority=3)
    assert isinstance(again, Run)
    assert again.status() is Status.COMPLETED
    assert again.info().labels == {"tenant": "a"}
    assert len(first.history()) == 2
    assert engine.run_until_idle().completed == 0


def test_another_input_is_refused_and_the_error_has_the_run(engine):
    flow = chain("order", "pack")
    engine.register(flow)
    engine.start(flow, Order(5), id="one")
    with pytest.raises(RunExists, match=r"'one' was started before with another input: use another id, or get") as e:
        engine.start(flow, Order(6), id="one")
    engine.run_until_idle()
    assert e.value.run.result() == Order(5, ["pack"])
    assert isinstance(e.value.run, Run)


def test_another_flow_is_refused(engine):
    engine.start(chain("order", "pack"), Order(5), id="one")
    with pytest.raises(RunExists, match="flow 'order'") as e:
        engine.start(chain("parcel", "pack"), Order(5), id="one")
    assert e.value.run.status() is Status.QUEUED
    assert e.value.run.info().flow == "order"


def test_the_async_engine_gives_an_async_run(store, clock):
    async def go() -> None:
        async with AsyncEngine(store, clock=clock) as engine:
            await engine.start(chain("order", "pack"), Order(5), id="one")
            with pytest.raises(RunExists) as e:
                await engine.start(chain("order", "pack"), Order(6), id="one")
            assert await e.value.run.status() is Status.QUEUED

    asyncio.run(go())


@pytest.mark.parametrize("real", [False, True])
def test_the_input_counts_and_not_the_changed_exchange(store, clock, real):
    flow = chain("order", "pack")
    with Engine(store, clock=None if real else clock) as engine:
        engine.register(flow)
        engine.start(flow, Order(5), id="one")
        engine.run_until_idle()
        assert engine.start(flow, Order(5), id="one").result(timeout=60) == Order(5, ["pack"])
        with pytest.raises(RunExists):
            engine.start(flow, Order(5, ["pack"]), id="one")


def test_fields_that_have_their_default_do_not_count(engine):
    engine.start(named("order", Order).do("pack", lambda: None).compile(), Order(5), id="one")
    newer: Any = named("order", Wide).do("pack", lambda: None).compile()
    assert engine.start(newer, Wide(5), id="one").id == "one"
    with pytest.raises(RunExists):
        engine.start(newer, Wide(5, express=True), id="one")
    data: Any = named("order", Data).do("pack", lambda: None).compile()
    assert engine.start(data, Data(5), id="one").id == "one"


def test_the_order_of_keys_does_not_count(engine):
    flow = named("plain").do("nop", lambda: None).compile()
    engine.start(flow, {"a": 1, "b": [2, {"c": 3, "d": 4}]}, id="one")
    engine.start(flow, {"b": [2, {"d": 4, "c": 3}], "a": 1}, id="one")
    with pytest.raises(RunExists):
        engine.start(flow, {"a": 1, "b": [{"c": 3, "d": 4}, 2]}, id="one")


def test_ids_default_to_uuid7_that_sort_by_time(engine, clock):
    flow = chain("order", "pack")
    ids = []
    for _ in range(5):
        ids.append(engine.start(flow, Order()).id)
        clock.advance(0.001)
    assert ids == sorted(ids)
    assert len(set(ids)) == 5
    parsed = uuid.UUID(ids[0])
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert parsed.int >> 80 == clock.now() // 1000 - 5


def test_many_starts_of_one_id_at_once_make_one_run(store):
    flow = chain("order", "pack")

    async def go() -> None:
        async with AsyncEngine(store) as engine, AsyncEngine(store) as other:
            engine.register(flow)
            starts = [e.start(flow, Order(5), id="one") for e in (engine, other) * 25]
            runs = await asyncio.gather(*starts)
            assert {run.id for run in runs} == {"one"}
            assert (await engine.run_until_idle()).completed == 1
            assert len(await runs[0].history()) == 2

    asyncio.run(go())


AWKWARD = ["ünïcode ✓", "a/b:c", "'; drop table runs; --", " ", "%", "x" * 512, "😀"]


@pytest.mark.parametrize("run_id", AWKWARD)
def test_awkward_ids_are_ids(engine, run_id):
    flow = chain("order", "pack")
    engine.register(flow)
    engine.start(flow, Order(), id=run_id, labels={run_id: run_id})
    engine.run_until_idle()
    (info,) = engine.runs(labels={run_id: run_id})
    assert info.id == run_id
    assert engine.get(flow, run_id).result().log == ["pack"]
