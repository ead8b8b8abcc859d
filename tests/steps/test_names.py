"""What users may call a step: by the name that they gave it, behind those of its groups, or by its path."""

from __future__ import annotations

from typing import Any

import pytest

from stepflow import NotFound, RetryPolicy, StepflowError, Steps, named


def nothing(_order: dict[str, Any]) -> None:
    pass


def take(_order: dict[str, Any], _payload: int) -> None:
    pass


def yes() -> bool:
    return True


FLOW = (
    named("shop/order", dict)
    .do("pay", nothing)
    .retry("again", RetryPolicy(2), Steps().do("ship", nothing).do("tell", nothing))
    .wait_for("here", yes)
    .case("gift", yes, Steps().do("wrap", nothing).steps("more", Steps().do("pay", nothing)))
    .loop_until("turns", yes, Steps().do("turn", nothing).wait_event("ev", "e", int, take))
    .do("checkRetry", nothing)
    .do("order", nothing)
    .steps("none", Steps())
    .compile()
)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("pay", "pay"),
        ("shop/order/pay", "pay"),
        ("again", "againRetry/ship"),
        ("tell", "againRetry/tell"),
        ("again/tell", "againRetry/tell"),
        ("againRetry/tell", "againRetry/tell"),
        ("here", "hereWaitFor"),
        ("gift", "giftCase"),
        ("wrap", "giftCase/steps/wrap"),
        ("gift/wrap", "giftCase/steps/wrap"),
        ("gift/more/pay", "giftCase/steps/more/pay"),
        ("more/pay", "giftCase/steps/more/pay"),
        ("shop/order/more/pay", "giftCase/steps/more/pay"),
        ("more", "giftCase/steps/more/pay"),
        ("ev", "turnsLoopUntil/steps/evWaitEvent"),
        ("evWaitEvent", "turnsLoopUntil/steps/evWaitEvent"),
        ("turns/ev", "turnsLoopUntil/steps/evWaitEvent"),
        ("turns", "turnsLoopUntil"),
        ("checkRetry", "checkRetry"),
        ("check", "checkRetry"),
        ("order", "order"),
        ("none", "none"),
    ],
)
def test_a_step_is_called_by_its_name_or_path(name: str, path: str) -> None:
    assert FLOW.step_path(name) == path


def test_a_name_that_several_steps_have_is_refused() -> None:
    flow = named("f", dict).steps("a", Steps().do("x", nothing)).retry("b", RetryPolicy(2), Steps().do("x", nothing))
    with pytest.raises(
        StepflowError, match="step 'x' of chain 'f' can be several: 'a/x', 'bRetry/x': give the path of one"
    ):
        flow.compile().step_path("x")
    assert flow.compile().step_path("b/x") == "bRetry/x"


@pytest.mark.parametrize(
    "name", ["", "/", "/pay", "pay/", "shop/order", "shop", "steps", "WaitEvent", "wrapp", "gift//wrap"]
)
def test_a_name_of_no_step_is_not_found(name: str) -> None:
    with pytest.raises(NotFound, match=r"chain 'shop/order' has no step"):
        FLOW.step_path(name)
    with pytest.raises(NotFound, match="most similar one is 'wrap'"):
        FLOW.step_path("wrapp")
