"""Retry groups in the engine's protocol: after_error, back-off, timeouts, attempts."""

from __future__ import annotations

import pytest

from stepflow.errors import DefinitionError, TimedOut
from stepflow.model.retry import RetryPolicy
from stepflow.model.state import POSITION, WAITING, Transition
from stepflow.steps import Steps, named
from tests.steps.helpers import Fail, after_error, position, step, task_of


def yes() -> bool:
    return True


def nothing() -> None:
    pass


def failing() -> None:
    raise Fail("x")


@pytest.mark.parametrize("kind", ["wait_for", "wait_event"])
def test_a_timeout_is_an_error_that_the_group_around_sees(kind):
    wait = (
        Steps().wait_for("w", yes, timeout=1)
        if kind == "wait_for"
        else Steps().wait_event("w", "e", int, print, timeout=1)
    )
    seen: list[Exception] = []
    flow = named("x").do("a", nothing).retry("r", lambda error: bool(seen.append(error) or True), wait).compile()
    error = TimedOut("too late")
    again = after_error(task_of(step(flow.first())), error, None)
    assert position(again) == ["start:x/rRetry"]
    assert seen == [error]
    alone = named("x").steps("g", wait).compile()
    with pytest.raises(TimedOut) as caught:
        after_error(task_of(alone.first()), TimedOut("too late"), None)
    assert caught.value.__notes__ == [f"in step x/g/w{'WaitFor' if kind == 'wait_for' else 'WaitEvent'}"]


def test_back_off_of_a_policy():
    policy = RetryPolicy(max_attempts=3, delay=4, jitter=0.5)
    flow = named("x").do("a", nothing).retry("r", policy, Steps().do("b", nothing).do("c", failing)).compile()
    at_c = step(step(flow.first()))
    assert at_c.attempt == 1
    again = step(at_c)
    assert again.transition.annotations == {POSITION: '["start:x/rRetry","attempt:2:x/rRetry"]', WAITING: "delay"}
    assert (again.delay_s, again.attempt, again.stays) == (policy.delay_s(1, "x/rRetry"), 2, False)
    at_c = step(again)
    assert (position(at_c), at_c.attempt) == (["completed:x/rRetry/b", "attempt:2:x/rRetry"], 2)
    third = step(at_c)
    assert (third.attempt, third.delay_s) == (3, policy.delay_s(2, "x/rRetry"))
    with pytest.raises(Fail):
        step(step(third))


def test_a_poll_inside_a_policy_keeps_the_attempts():
    flow = named("x").retry("r", RetryPolicy(), Steps().wait_for("w", lambda: False)).compile()
    held = Transition("x", {POSITION: '["start:x/rRetry/wWaitFor","attempt:2:x/rRetry"]', WAITING: "poll"})
    polled = step(flow.resume(held))
    assert polled.transition == held
    assert (polled.stays, polled.attempt) == (True, 2)


def test_back_off_before_an_event_still_shows_the_event():
    wait = Steps().wait_event("w", "go", int, print, timeout=1)
    flow = named("x").retry("r", RetryPolicy(delay=5, jitter=0), wait).compile()
    again = after_error(task_of(flow.first()), TimedOut(), None)
    assert (again.transition.events, again.delay_s) == (("go",), 5)


def test_an_error_of_a_handler_remembers_the_error_it_was_asked_about():
    def handler(error: Exception) -> bool:
        raise KeyError("handler")

    flow = named("x").retry("r", handler, Steps().do("b", failing)).compile()
    first = Fail("first")
    with pytest.raises(KeyError) as caught:
        after_error(task_of(flow.first()), first, None)
    assert caught.value.__context__ is first


def test_a_handler_is_handed_out_as_a_call():
    def handler(exchange: dict[str, int], error: Exception) -> bool:
        return True

    flow = named("x").retry("r", handler, Steps().do("b", failing)).compile()
    error, exchange = Fail(), {"n": 1}
    call = next(task_of(flow.first()).after_error(error, exchange))
    assert (call.fn, call.args) == (handler, (exchange, error))


def test_a_value_that_is_not_acceptable_is_raised_by_settle():
    flow = named("x").retry("r", lambda error: True, Steps().wait_for("w", yes)).compile()
    task = task_of(flow.first())
    with pytest.raises(DefinitionError, match="x/rRetry/wWaitFor: the condition returned 3") as caught:
        task.after_return(3, None)
    with pytest.raises(DefinitionError):
        after_error(task, caught.value, None)
