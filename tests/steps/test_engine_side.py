"""A step flow in the engine's protocol: first, resume, after_return, after_error, and the shared moves between them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings

from stepflow.errors import UnknownState
from stepflow.model.flow import Flow, Move
from stepflow.model.state import PAYLOADS, POSITION, STATUS, WAITING, Transition
from stepflow.steps import StepFlow, Steps, named
from stepflow.testing.script import Boom, Script, chain_of
from stepflow.testing.strategies import scripts
from tests.steps.helpers import Fail, position, step, task_of


def nothing() -> None:
    pass


def yes() -> bool:
    return True


def failing() -> None:
    raise Fail("x")


def test_a_step_flow_is_a_flow():
    flow = named("x").compile()
    assert isinstance(flow, Flow)
    assert (flow.name, flow.kind, flow.inline) == ("x", "steps", True)


def test_the_first_move_and_the_last():
    flow = named("order/v1").do("a", nothing).steps("g", Steps().do("b", nothing)).compile()
    first = flow.first()
    assert first.transition == Transition("order/v1", {POSITION: '["start:order/v1"]'})
    assert (task_of(first).step, task_of(first).is_async, task_of(first).event) == ("a", False, "")
    second = step(first)
    assert second.transition == Transition("order/v1", {POSITION: '["completed:order/v1/a"]'})
    assert task_of(second).step == "g/b"
    last = step(second)
    assert last == Move(Transition("", {POSITION: '["completed:order/v1"]', STATUS: "completed"}), ())


def test_a_flow_without_steps_is_over_at_once():
    first = named("x").compile().first()
    assert first.tasks == ()
    assert first.transition.status == "completed"


def test_moves_transitions_and_tasks_are_shared():
    flow = named("x").do("a", nothing).do("b", nothing).compile()
    assert flow.first() is flow.first()
    assert step(flow.first()) is step(flow.first())
    assert task_of(flow.resume(flow.first().transition)) is task_of(flow.first())


def test_a_failed_poll_stays_and_waits():
    answers = iter([False, False, True])
    flow = named("x").do("a", nothing).wait_for("w", lambda: next(answers), every=2.5, timeout=60).do("b", nothing)
    at_wait = step(flow.compile().first())
    assert (at_wait.delay_s, at_wait.stays, task_of(at_wait).timeout_s) == (0, False, 60)
    assert at_wait.transition.annotations == {POSITION: '["completed:x/a"]', WAITING: "poll"}
    polled = step(at_wait)
    assert polled.transition.annotations == {POSITION: '["start:x/wWaitFor"]', WAITING: "poll"}
    assert (polled.delay_s, polled.stays) == (2.5, True)
    assert task_of(polled) is task_of(at_wait)
    assert step(polled) is polled
    done = step(polled)
    assert (position(done), done.delay_s, done.stays) == (["completed:x/wWaitFor"], 0, False)


def test_waiting_for_an_event():
    got: list[Any] = []
    flow = (
        named("x")
        .do("a", nothing)
        .wait_event("ok", "release.ok", dict, lambda ex, p: got.append((ex, p)), timeout=timedelta(days=3), latch=True)
        .wait_event("only", "ping", int, got.append)
        .compile()
    )
    waits = step(flow.first())
    assert waits.transition.annotations == {
        POSITION: '["completed:x/a"]',
        WAITING: "event:release.ok",
        PAYLOADS: '{"release.ok":{"type":"object","additionalProperties":{}}}',
    }
    assert waits.transition.events == ("release.ok",)
    task = task_of(waits)
    assert (task.step, task.event, task.timeout_s, task.latch) == ("okWaitEvent", "release.ok", 259200, True)
    assert task.payload is not None
    assert task.payload.decode('{"by": "me"}') == {"by": "me"}
    following = step(waits, "exchange", {"by": "me"})
    assert (following.transition.events, task_of(following).latch) == (("ping",), False)
    assert step(following, "exchange", 7).tasks == ()
    assert got == [("exchange", {"by": "me"}), 7]


def test_a_chain_may_begin_with_an_event():
    first = named("x").wait_event("ok", "go", int, lambda p: None).compile().first()
    assert first.transition.annotations == {
        POSITION: '["start:x"]',
        WAITING: "event:go",
        PAYLOADS: '{"go":{"type":"integer"}}',
    }


def test_async_steps_and_handlers_are_marked():
    async def later(exchange: list[int]) -> None: ...
    async def handler(error: Exception) -> bool:
        return True

    flow = named("x", list[int]).do("a", later).retry("r", handler, Steps().do("b", failing)).compile()
    assert not flow.inline
    assert task_of(flow.first()).is_async
    asking = task_of(flow.resume(Transition("x", {POSITION: '["completed:x/a"]'}))).after_error(Fail(), [])
    assert next(asking).is_async


def test_resume_gives_the_transition_back():
    flow = named("x").do("a", nothing).do("b", nothing).compile()
    stored = Transition("x", {POSITION: '["completed:x/a"]', "mine": "kept"})
    move = flow.resume(stored)
    assert move.transition is stored
    assert (task_of(move).step, move.delay_s) == ("b", 0)


@pytest.mark.parametrize("annotations", [{}, {POSITION: "[]"}, {POSITION: "null"}, {POSITION: '["start:x"]'}])
def test_resume_without_a_position_starts_the_flow(annotations):
    flow = named("x").do("a", nothing).compile()
    assert task_of(flow.resume(Transition("x", annotations))) is task_of(flow.first())


def test_resume_of_a_run_that_ended():
    flow = named("x").do("a", nothing).compile()
    done = step(flow.first()).transition
    assert flow.resume(done) == Move(done, ())


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        ('["completed:x/b"]', "most similar known one is 'completed:x/a'"),
        ("nonsense", "holds 'nonsense', not a JSON list"),
        ('"start:x"', "is not a position"),
        ('{"a":1}', "is not a position"),
        ("[1]", "must be a list of strings"),
    ],
)
def test_resume_refuses_strange_positions(stored, says):
    with pytest.raises(UnknownState, match=says):
        named("x").do("a", nothing).compile().resume(Transition("x", {POSITION: stored}))


def test_steps_are_unique_below_the_root():
    flow = named("a/b").do("x", nothing).case("x", yes, Steps().do("x", nothing)).compile()
    moves = [
        flow.resume(Transition("a/b", {POSITION: json.dumps([e.source])})) for e in flow.transitions if e.exclusive
    ]
    assert [task_of(move).step for move in moves] == ["x", "xCase", "xCase/steps/x"]


def engine_like(flow: StepFlow[Any], exchange: Any, save: Callable[[Move], Move]) -> list[list[str]]:
    move = flow.first()
    seen = [position(move)]
    while move.tasks:
        try:
            move = save(step(move, exchange))
        except Boom:
            continue
        seen.append(position(move))
    assert move.transition.status == "completed"
    return seen


@settings(max_examples=60, deadline=None)
@given(scripts())
def test_an_engine_makes_the_moves_of_apply_without_the_closing_one(script: Script):
    flow = chain_of(script).compile()
    state, applied, plain = ["start:script"], [["start:script"]], {"calls": []}
    while not flow.is_completed(state):
        try:
            state = flow.apply(state, plain)
        except Boom:
            continue
        applied.append(state)
    expected = [*applied[:-2], applied[-1]]
    for save in (lambda move: move, lambda move: flow.resume(Transition.parse(move.transition.text))):
        exchange: dict[str, Any] = {"calls": []}
        assert engine_like(flow, exchange, save) == expected
        assert exchange == plain
