"""Retry groups: handlers and policies, nested, around every kind of step, sync and async."""

from __future__ import annotations

import asyncio

import pytest

from stepflow.errors import StepflowError
from stepflow.model.retry import RetryPolicy
from stepflow.steps import Steps, named
from tests.steps.helpers import Fail


class Broken:
    """A step that fails `times` times, counting its calls."""

    def __init__(self, times: int, error: type[Exception] = Fail) -> None:
        self.left, self.calls, self.error = times, 0, error

    def __call__(self) -> None:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error(f"call {self.calls}")


def asked(answers: list[bool], log: list[str], name: str):
    def handler(error: Exception) -> bool:
        log.append(f"{name} {type(error).__name__}")
        return answers.pop(0)

    return handler


def test_a_handler_starts_the_group_from_its_first_child():
    first = Broken(0)
    flow = (
        named("x").retry("r", lambda e: True, Steps().do("a", first).steps("g", Steps().do("b", Broken(1)))).compile()
    )
    state = flow.apply(flow.apply([]))
    assert state == ["start:x/rRetry"]
    assert flow.apply(state) == ["completed:x/rRetry/a"]
    assert first.calls == 2


def test_a_handler_gets_the_exchange_and_the_error():
    seen: list[object] = []

    def handler(exchange: list[int], error: Exception) -> bool:
        seen.extend([exchange, str(error)])
        exchange.append(1)
        return True

    flow = named("x", list[int]).retry("r", handler, Steps(list[int]).do("a", Broken(1))).compile()
    exchange = [0]
    assert flow.apply([], exchange) == ["start:x/rRetry"]
    assert seen == [[0, 1], "call 1"]
    assert seen[0] is exchange


def test_nested_inner_yes_restarts_the_inner_group_only():
    """U6, with the two tests that follow."""
    log: list[str] = []
    inner = Steps().do("b", Broken(1))
    outer = Steps().do("a", lambda: None).retry("in", asked([True], log, "in"), inner)
    flow = named("x").retry("out", asked([], log, "out"), outer).compile()
    assert flow.apply(flow.apply([])) == ["start:x/outRetry/inRetry"]
    assert log == ["in Fail"]


def test_nested_inner_no_asks_the_outer_with_the_original_error():
    log: list[str] = []
    inner = Steps().retry("in", asked([False], log, "in"), Steps().do("b", Broken(1)))
    flow = named("x").retry("out", asked([True], log, "out"), inner).compile()
    assert flow.apply([]) == ["start:x/outRetry"]
    assert log == ["in Fail", "out Fail"]


def test_nested_an_error_of_the_inner_handler_goes_to_the_outer():
    log: list[str] = []

    def broken_handler(error: Exception) -> bool:
        raise KeyError("handler")

    inner = Steps().retry("in", broken_handler, Steps().do("b", Broken(9)))
    flow = named("x").retry("out", asked([True, False], log, "out"), inner).compile()
    assert flow.apply([]) == ["start:x/outRetry"]
    with pytest.raises(KeyError) as caught:
        flow.apply(["start:x/outRetry"])
    assert log == ["out KeyError"] * 2
    assert isinstance(caught.value.__context__, Fail)
    assert caught.value.__notes__ == ["in the error handler of x/outRetry/inRetry"]


@pytest.mark.parametrize("kind", ["wait_for", "case", "loop_until"])
def test_conditions_inside_of_a_group_are_guarded_too(kind):
    """U7."""
    failing = Broken(1)

    def condition() -> bool:
        failing()
        return True

    body = getattr(Steps(), kind)("c", condition, *([] if kind == "wait_for" else [Steps()]))
    flow = named("x").retry("r", lambda error: True, body).compile()
    assert flow.apply([]) == ["start:x/rRetry"]
    assert flow.apply(["start:x/rRetry"]) != ["start:x/rRetry"]


def test_steps_outside_a_group_are_not_retried():
    flow = named("x").retry("r", lambda error: True, Steps().do("a", lambda: None)).do("b", Broken(1)).compile()
    with pytest.raises(Fail):
        flow.apply(flow.apply([]))


def test_a_handler_must_answer_with_a_bool():
    flow = named("x").retry("r", lambda error: None, Steps().do("a", Broken(1))).compile()  # type: ignore[arg-type]
    with pytest.raises(StepflowError, match="x/rRetry: the error handler returned None, it must return True") as caught:
        flow.apply([])
    assert isinstance(caught.value.__cause__, Fail)


def test_a_policy_counts_in_the_position_from_the_first_failure_until_the_group_is_left():
    policy = RetryPolicy(max_attempts=3, delay=1, factor=2, jitter=0)
    body = Steps().do("a", lambda: None).do("probe", Broken(2)).do("b", lambda: None)
    flow = named("R").retry("smoke", policy, body).do("after", lambda: None).compile()
    state: list[str] = []
    seen: list[tuple[list[str], float]] = []
    while not flow.is_completed(state):
        state = flow.apply(state)
        seen.append((state, flow.wait_s(state)))
    second, third = "attempt:2:R/smokeRetry", "attempt:3:R/smokeRetry"
    assert seen == [
        (["completed:R/smokeRetry/a"], 0),
        (["start:R/smokeRetry", second], 1),
        (["completed:R/smokeRetry/a", second], 0),
        (["start:R/smokeRetry", third], 2),
        (["completed:R/smokeRetry/a", third], 0),
        (["completed:R/smokeRetry/probe", third], 0),
        (["completed:R/smokeRetry/b"], 0),
        (["completed:R/after"], 0),
        (["completed:R"], 0),
    ]


def test_a_policy_gives_up_after_its_last_attempt_and_the_position_stays_valid():
    probe = Broken(3)
    flow = named("R").retry("s", RetryPolicy(max_attempts=3), Steps().do("probe", probe)).compile()
    state = flow.apply(flow.apply([]))
    assert state == ["start:R/sRetry", "attempt:3:R/sRetry"]
    with pytest.raises(Fail, match="call 3"):
        flow.apply(state)
    assert flow.apply(state) == ["completed:R/sRetry/probe"]


def test_a_policy_tries_only_its_errors_again():
    flow = named("R").retry("s", RetryPolicy(on=KeyError), Steps().do("a", Broken(1, ValueError))).compile()
    with pytest.raises(ValueError, match="call 1"):
        flow.apply([])


def test_the_jitter_of_a_group_comes_from_its_scope():
    policy = RetryPolicy(delay=10, jitter=0.5)
    flow = named("R").retry("s", policy, Steps().do("a", Broken(1))).compile()
    assert flow.wait_s(flow.apply([])) == policy.delay_s(1, "R/sRetry") != 10


def test_nested_policies_count_each_for_itself():
    twice = RetryPolicy(max_attempts=2, delay=0)
    body = Steps().retry("in", twice, Steps().do("a", Broken(3)))
    flow = named("R").retry("out", twice, body).compile()
    first = flow.apply([])
    assert first == ["start:R/outRetry/inRetry", "attempt:2:R/outRetry/inRetry"]
    second = flow.apply(first)
    assert second == ["start:R/outRetry", "attempt:2:R/outRetry"]
    third = flow.apply(second)
    assert third == ["start:R/outRetry/inRetry", "attempt:2:R/outRetry/inRetry", "attempt:2:R/outRetry"]
    assert flow.apply(third) == ["completed:R/outRetry/inRetry/a"]


def test_a_handler_inside_a_policy_keeps_the_attempts_of_the_policy():
    body = Steps().do("a", lambda: None).retry("in", lambda error: True, Steps().do("b", Broken(1)))
    flow = named("R").retry("out", RetryPolicy(), body).compile()
    held = "attempt:2:R/outRetry"
    state = flow.apply(["start:R/outRetry", held])
    assert state == ["completed:R/outRetry/a", held]
    assert flow.apply(state) == ["start:R/outRetry/inRetry", held]


def test_attempts_mean_nothing_to_a_group_that_has_a_handler_now():
    flow = named("R").retry("r", lambda error: True, Steps().do("a", lambda: None).do("b", Broken(1))).compile()
    assert flow.apply(["start:R/rRetry", "attempt:2:R/rRetry"]) == ["completed:R/rRetry/a"]
    assert flow.apply(["completed:R/rRetry/a", "attempt:2:R/rRetry"]) == ["start:R/rRetry"]


def test_a_loop_enters_a_group_with_fresh_attempts():
    rounds: list[int] = []

    def twice() -> bool:
        rounds.append(1)
        return len(rounds) == 2

    probe = Broken(1)
    flow = named("R").loop_until("l", twice, Steps().retry("r", RetryPolicy(delay=0), Steps().do("a", probe))).compile()
    scope = "R/lLoopUntil/steps/rRetry"
    state = flow.apply(flow.apply([]))
    assert state == [f"completed:{scope}/a"]
    state = flow.apply(state)
    probe.left = 1
    assert flow.apply(state) == [f"start:{scope}", f"attempt:2:{scope}"]


def test_an_async_handler_and_step():
    async def failing(exchange: list[str]) -> None:
        exchange.append("step")
        raise Fail

    async def handler(exchange: list[str], error: Exception) -> bool:
        exchange.append("handler")
        return len(exchange) < 4

    flow = named("x").retry("r", handler, Steps(list[str]).do("a", failing)).compile()
    exchange: list[str] = []
    assert asyncio.run(flow.aapply([], exchange)) == ["start:x/rRetry"]
    with pytest.raises(Fail):
        asyncio.run(flow.aapply([], exchange))
    assert exchange == ["step", "handler"] * 2


def test_an_async_handler_that_raises_replaces_the_error():
    async def handler(error: Exception) -> bool:
        raise KeyError("x")

    flow = named("x").retry("r", handler, Steps().do("a", Broken(1))).compile()
    with pytest.raises(KeyError):
        asyncio.run(flow.aapply([]))
