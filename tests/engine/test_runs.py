"""A run from start to end: sync, async and mixed chains, on the sync and the async engine, with literal histories."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stepflow import (
    AsyncEngine,
    Engine,
    NotFound,
    ResultTimeout,
    RetryPolicy,
    RunCancelled,
    RunEnded,
    RunFailed,
    Status,
    StepflowError,
    Steps,
    named,
)
from tests.engine.flows import Flaky, Order, anote, note, told

HISTORY = [
    (["start:order"], {"amount": 1, "log": []}, ""),
    (["completed:order/pack"], {"amount": 1, "log": ["pack"]}, ""),
    (["completed:order/ship"], {"amount": 1, "log": ["pack", "ship"]}, ""),
    (["completed:order"], {"amount": 1, "log": ["pack", "ship", "thank"]}, "completed"),
]
STYLES = {"sync": (note, note, note), "async": (anote, anote, anote), "mixed": (note, anote, note)}


def order_flow(style: str) -> Any:
    pack, ship, thank = STYLES[style]
    chain = named("order", Order).do("pack", pack("pack")).do("ship", ship("ship"))
    return chain.steps("after", Steps(Order).do("thank", thank("thank"))).compile()


@pytest.mark.parametrize("style", STYLES)
def test_each_step_is_one_revision_and_static_transitions_none(engine, style):
    flow = order_flow(style)
    engine.register(flow)
    run = engine.start(flow, Order(), id="one")
    idle = engine.run_until_idle()
    assert (idle.completed, idle.failed, idle.waiting, idle.next_due) == (1, 0, 0, None)
    assert run.result() == Order(1, ["pack", "ship", "thank"])
    history = run.history()
    assert [told(entry) for entry in history] == HISTORY
    assert sorted({entry.rev for entry in history}) == [entry.rev for entry in history]


async def run_async(store, clock, style):
    flow = order_flow(style)
    async with AsyncEngine(store, clock=clock) as engine:
        engine.register(flow)
        run = await engine.start(flow, Order(), id="one")
        assert await run.status() is Status.QUEUED
        assert (await engine.run_until_idle()).completed == 1
        assert await run.result() == Order(1, ["pack", "ship", "thank"])
        return [told(entry) for entry in await run.history()], await engine.tally(), await engine.runs()


@pytest.mark.parametrize("style", STYLES)
def test_the_async_engine_does_the_same(store, clock, style):
    history, tally, (info,) = asyncio.run(run_async(store, clock, style))
    assert history == HISTORY
    assert tally == {"order": {"completed": 1}}
    assert (info.id, info.status, info.position) == ("one", Status.COMPLETED, ["completed:order"])


@pytest.mark.parametrize("style", STYLES)
def test_real_time_gives_the_same_history(store, style):
    flow = order_flow(style)
    with Engine(store) as engine:
        engine.register(flow)
        runs = [engine.start(flow, Order(), id=f"run-{n}") for n in range(20)]
        assert engine.run_until_idle().completed == 20
        assert all([told(entry) for entry in run.history()] == HISTORY for run in runs)


def test_a_run_does_not_move_outside_of_a_worker(engine):
    flow = order_flow("sync")
    engine.register(flow)
    run = engine.start(flow, Order())
    assert run.status() is Status.QUEUED
    with pytest.raises(ResultTimeout, match="run_until_idle"):
        run.result(timeout=60)
    assert len(run.history()) == 1


def test_an_engine_that_registered_nothing_is_a_client(store, clock):
    flow = order_flow("sync")
    with Engine(store, clock=clock) as client, Engine(store, clock=clock) as worker:
        run = client.start(flow, Order(), id="one")
        assert client.run_until_idle().completed == 0
        assert run.status() is Status.QUEUED
        worker.register(flow)
        assert worker.run_until_idle().completed == 1
        assert run.result() == Order(1, ["pack", "ship", "thank"])


def test_a_run_continues_in_an_engine_that_is_opened_later(store, clock):
    flow = order_flow("sync")
    with Engine(store, clock=clock) as engine:
        engine.start(flow, Order(), id="one")
    with Engine(store, clock=clock) as engine:
        engine.register(flow)
        engine.run_until_idle()
        assert engine.get(flow, "one").result().log == ["pack", "ship", "thank"]


def test_a_failed_run_carries_its_error(engine):
    flow = named("order", Order).do("pack", note("pack")).do("pay", Flaky(9)).compile()
    engine.register(flow)
    run = engine.start(flow, Order(), id="one")
    idle = engine.run_until_idle()
    assert (idle.completed, idle.failed) == (0, 1)
    with pytest.raises(RunFailed) as failed:
        run.result()
    assert (failed.value.run_id, failed.value.type) == ("one", "Broken")
    assert failed.value.message == "call 1 [in step order/pay]"
    assert "raise self.error" in failed.value.traceback
    assert "stepflow/engine" not in failed.value.traceback  # it begins with the user's function
    info = run.info()
    assert (info.status, info.position, info.due) == (Status.FAILED, ["completed:order/pack"], None)
    assert info.error is not None
    assert info.error.type == "Broken"
    assert run.exchange() == Order(1, ["pack"])  # not "try 1": the last commit's exchange stands


def test_handles_are_typed_or_plain(engine):
    flow = order_flow("sync")
    engine.register(flow)
    engine.start(flow, Order(amount=7), id="one")
    engine.run_until_idle()
    assert engine.get(flow, "one").result() == Order(7, ["pack", "ship", "thank"])
    assert engine.get("one").result() == {"amount": 7, "log": ["pack", "ship", "thank"]}
    assert engine.get("one").exchange() == {"amount": 7, "log": ["pack", "ship", "thank"]}


def test_a_handle_costs_nothing_and_an_unknown_run_shows_at_first_use(engine):
    run = engine.get("nobody")
    for use in (run.status, run.info, run.result, run.exchange, run.history, run.explain, run.cancel, run.redrive):
        with pytest.raises(NotFound, match="nobody"):
            use()
    with pytest.raises(NotFound, match="nobody"):
        run.publish("x")


def test_runs_lists_the_newest_first_filtered_and_paged(engine, clock):
    flow, other = order_flow("sync"), named("other", Order).do("pay", Flaky(9)).compile()
    engine.register(flow, other)
    for n in range(5):
        engine.start(flow, Order(n), id=f"run-{n}", labels={"tenant": "ab"[n % 2]})
        clock.advance(1)
    engine.start(other, Order(), id="other")
    engine.run_until_idle()
    assert [r.id for r in engine.runs()] == ["other", "run-4", "run-3", "run-2", "run-1", "run-0"]
    assert [r.id for r in engine.runs(flow="order", limit=2)] == ["run-4", "run-3"]
    assert [r.id for r in engine.runs(flow="order", limit=2, after="run-3")] == ["run-2", "run-1"]
    assert [r.id for r in engine.runs(labels={"tenant": "a"})] == ["run-4", "run-2", "run-0"]
    assert [r.id for r in engine.runs(status="failed")] == ["other"]
    assert [r.id for r in engine.runs(status=Status.COMPLETED, limit=1)] == ["run-4"]
    assert engine.tally() == {"order": {"completed": 5}, "other": {"failed": 1}}


def test_history_can_be_cut_to_the_newest(engine):
    flow = order_flow("sync")
    engine.register(flow)
    run = engine.start(flow, Order())
    engine.run_until_idle()
    last = run.history(2)
    assert [told(entry) for entry in last] == HISTORY[-2:]
    assert [told(entry) for entry in run.history(before=last[0].rev)] == HISTORY[:-2]
    assert [told(entry) for entry in run.history(1, before=last[0].rev)] == HISTORY[1:2]
    assert run.history(before=1) == []


def test_redrive_resumes_at_the_step_that_failed(engine):
    pay = Flaky(1)
    flow = named("order", Order).do("pack", note("pack")).do("pay", pay).do("ship", note("ship")).compile()
    engine.register(flow)
    run = engine.start(flow, Order(), id="one")
    engine.run_until_idle()
    assert run.status() is Status.FAILED
    run.redrive()
    assert (run.status(), run.info().error) == (Status.QUEUED, None)
    engine.run_until_idle()
    assert run.result() == Order(1, ["pack", "try 2", "ship"])
    assert pay.calls == 2


def test_only_failed_blocked_and_waiting_runs_are_redriven(engine):
    flow = order_flow("sync")
    engine.register(flow)
    run = engine.start(flow, Order(), id="one")
    with pytest.raises(StepflowError, match="only a failed, blocked or waiting run can be redriven"):
        run.redrive()
    run.cancel()
    lost = "only a failed, blocked or waiting run can be redriven; rewind lets it go on from a revision of its history"
    with pytest.raises(StepflowError, match=lost):
        run.redrive()
    run.rewind(rev=run.history()[0].rev)
    engine.run_until_idle()
    assert run.status() == "completed"


def test_cancel_before_the_first_step_is_final_at_once(engine):
    flow = order_flow("sync")
    engine.register(flow)
    run = engine.start(flow, Order(), id="one")
    run.cancel()
    run.cancel()
    assert (run.status(), run.info().due) == (Status.CANCELLED, None)
    engine.run_until_idle()
    assert [told(entry) for entry in run.history()] == [
        (["start:order"], {"amount": 1, "log": []}, ""),
        (["start:order"], {"amount": 1, "log": []}, "cancelled"),
    ]
    with pytest.raises(RunCancelled, match="one"):
        run.result()


def test_cancel_leaves_an_ended_run_alone(engine):
    flow = order_flow("sync")
    engine.register(flow)
    run = engine.start(flow, Order(), id="one")
    engine.run_until_idle()
    with pytest.raises(RunEnded, match="completed"):
        run.cancel()
    assert run.status() is Status.COMPLETED


@pytest.mark.parametrize("real", [False, True])
def test_a_held_run_finishes_its_step_before_it_is_cancelled(store, clock, real):
    handles: list[Any] = []

    async def stop_me(order: Order) -> None:
        order.log.append("stopped")
        await handles[0].cancel()

    flow = named("order", Order).do("stop", stop_me).do("never", note("never")).compile()

    async def go() -> None:
        async with AsyncEngine(store, clock=None if real else clock) as engine:
            engine.register(flow)
            handles.append(await engine.start(flow, Order(), id="one"))
            await engine.run_until_idle()
            assert await handles[0].status() is Status.CANCELLED
            assert await handles[0].exchange() == Order(1, ["stopped"])

    asyncio.run(go())


def test_a_cancel_beats_a_retry_that_sleeps(engine):
    flow = named("order", Order).retry("pay", RetryPolicy(delay=9), Steps(Order).do("pay", Flaky(1))).compile()
    engine.register(flow)
    run = engine.start(flow, Order(), id="one")
    engine.run_until_idle()
    assert run.status() is Status.SLEEPING
    run.cancel()
    assert run.status() is Status.CANCELLED
    assert engine.run_until_idle(advance=True).next_due is None


def test_what_does_not_move_a_failed_run_leads_to_redrive(engine):
    def fails(order: Order) -> None:
        raise ValueError("no bank")

    flow = named("x", Order).do("pay", fails).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    engine.run_until_idle()
    for call in (run.resume, run.pause, run.wake):
        with pytest.raises(StepflowError, match=r"; redrive lets it go on$"):
            call()
