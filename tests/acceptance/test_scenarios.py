"""I28-I32: realistic workflows."""

from __future__ import annotations

from attrs import frozen

from stepflow import Context, Engine, RetryPolicy, Status, workflow
from stepflow.testing import VirtualClock
from tests.acceptance.flows import called, count


@frozen
class Confirmation:
    confirmed: bool


@frozen
class Decision:
    approver: str
    approved: bool


def work(step: str, order: str) -> str:
    called(step)
    return f"{step} {order}"


@workflow("order")
def order(wf: Context, number: str) -> str:
    wf.execute("validate", work, "validate", number)
    wf.execute("reserve", work, "reserve", number, retry=RetryPolicy(max_attempts=4))
    wf.execute("pay", work, "pay", number, retry=RetryPolicy(max_attempts=3))
    if not wf.wait_for_event("warehouse", "warehouse_confirmation", Confirmation).confirmed:
        return "refused"
    tracking = wf.random_uuid7("tracking")
    return wf.execute("ship", work, "ship", tracking)


def test_i28_an_order_is_paid_confirmed_and_shipped_with_a_tracking_id(engine: Engine) -> None:
    engine.register(order)
    run = engine.start(order, "o-1")
    engine.run_until_idle()
    assert run.status() is Status.WAITING
    assert [count(step) for step in ("validate", "reserve", "pay", "ship")] == [1, 1, 1, 0]
    run.publish("warehouse_confirmation", {"confirmed": True})
    engine.run_until_idle()
    tracking = next(row.text for row in run.recording().rows if row.key == "tracking")
    assert run.result() == f"ship {tracking}"
    assert [count(step) for step in ("validate", "reserve", "pay", "ship")] == [1, 1, 1, 1]


@workflow("tasks")
def tasks(wf: Context) -> None:
    for n in range(3):
        wf.execute(f"task_execution_{n}", work, "task", str(n))
        wf.sleep(f"interval_{n}", 0.03)


def test_i29_a_loop_of_tasks_with_sleeps_between_them(engine: Engine, clock: VirtualClock) -> None:
    engine.register(tasks)
    run, passes = engine.start(tasks), 0
    while run.status() is not Status.COMPLETED:
        engine.run_until_idle()
        clock.advance(0.03)
        passes += 1
    assert (passes, count("task")) == (4, 3)


@workflow("chain")
def chain(wf: Context, approvers: list[str]) -> str:
    for name in approvers:
        if not wf.wait_for_event(f"approval_{name}", "approval", Decision).approved:
            return f"rejected by {name}"
    return "approved"


def test_i30_and_i31_a_chain_of_approvals_ends_with_the_first_rejection(engine: Engine) -> None:
    engine.register(chain)
    names = ["ada", "bob", "eve"]
    good, bad = engine.start(chain, names), engine.start(chain, names)
    for name in names:
        engine.run_until_idle()
        good.publish("approval", Decision(name, True))
        if name != "eve":
            bad.publish("approval", Decision(name, name == "ada"))
    engine.run_until_idle()
    assert (good.result(), bad.result()) == ("approved", "rejected by bob")


@workflow("pipeline")
def pipeline(wf: Context, sources: int) -> list[str]:
    again = RetryPolicy(max_attempts=3)
    return [wf.execute(f"transform_{n}", work, "transform", str(n), retry=again) for n in range(sources)]


def test_i32_one_recorded_step_for_each_source(engine: Engine) -> None:
    engine.register(pipeline)
    run = engine.start(pipeline, 5)
    engine.run_until_idle()
    assert run.result() == [f"transform {n}" for n in range(5)]
    assert [row.key for row in run.recording().rows] == [f"transform_{n}" for n in range(5)]
    assert count("transform") == 5
