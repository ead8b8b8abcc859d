"""Deep and wide chains: no recursion limit, no quadratic cost."""

from __future__ import annotations

import gc
import sys
from time import process_time
from typing import Any

import pytest

from stepflow.errors import UnknownState
from stepflow.model.retry import RetryPolicy
from stepflow.steps import Steps, named

DEEP, WIDE = 300, 10_000


def yes() -> bool:
    return True


def nest(kind: str, depth: int) -> Steps[Any]:
    middle: list[Any] = {"steps": [], "retry": [lambda error: False]}.get(kind, [yes])
    chain: Steps[Any] = Steps().do("f", lambda: None)
    for _ in range(depth):
        chain = getattr(Steps(), kind)("n", *middle, chain)
    return chain


def whole(flow: Any, exchange: Any = None) -> int:
    state: list[str] = []
    applies = 0
    while not flow.is_completed(state):
        state = flow.apply(state, exchange)
        applies += 1
    return applies


@pytest.mark.parametrize(
    ("kind", "applies"), [("steps", 2), ("retry", 2), ("case", DEEP + 2), ("loop_until", DEEP + 2)]
)
def test_nesting_of_any_kind(kind, applies):
    flow = nest(kind, DEEP).compile()
    assert whole(flow) == applies
    assert flow.first().tasks
    for form in ("mermaid", "dot", "text"):
        assert flow.diagram(form, state=[])
    assert len(flow.fingerprint) == 64
    assert flow.check() == []


def test_nesting_far_beyond_the_recursion_limit():
    chain = nest("steps", 2 * sys.getrecursionlimit())
    assert whole(chain.compile()) == 2
    del chain


def test_an_error_below_many_handlers_asks_them_all():
    asked: list[int] = []

    def failing() -> None:
        raise KeyError

    chain: Steps[Any] = Steps().do("f", failing)
    for n in range(DEEP):
        chain = Steps().retry("n", lambda error, n=n: bool(asked.append(n)), chain)
    with pytest.raises(KeyError):
        chain.compile().apply([])
    assert asked == list(range(DEEP))


def test_policies_in_policies():
    chain: Steps[Any] = Steps().do("f", lambda exchange: exchange.append(1) or 1 / (len(exchange) > 50))
    for _ in range(60):
        chain = Steps().retry("n", RetryPolicy(max_attempts=2, delay=0), chain)
    flow = chain.compile()
    state: list[str] = []
    calls: list[int] = []
    for _ in range(40):
        state = flow.apply(state, calls)
    assert len(calls) == 40
    assert state[0].startswith("start:steps/")


def test_ten_thousand_steps():
    chain: Steps[Any] = named("wide")
    for n in range(WIDE):
        chain = chain.do(f"s{n}", lambda exchange: exchange.append(None))
    flow = chain.compile()
    exchange: list[None] = []
    assert whole(flow, exchange) == WIDE + 1
    assert len(exchange) == WIDE
    assert len(flow.transitions) == 2 * WIDE + 1
    assert flow.diagram("text").count("\n") == WIDE + 2


@pytest.mark.timeout(60)
def test_the_cost_grows_with_the_number_of_steps_only():
    def cost(steps: int) -> float:
        begun = process_time()
        chain: Steps[Any] = named("wide")
        for n in range(steps):
            chain = chain.do(f"s{n}", yes)
        flow = chain.compile()
        flow.first()
        return process_time() - begun

    cost(200)
    gc.collect()
    gc.disable()  # a collection looks at all that the tests before this one have left
    try:
        small, large = (min(cost(steps) for _ in range(3)) for steps in (1000, 8000))
    finally:
        gc.enable()
    assert large < small * 8 * 4  # linear with a wide margin; quadratic would be 64 times


def test_the_nearest_of_very_many_names_is_found_at_once():
    chain: Steps[Any] = named("wide.v1")
    for n in range(WIDE):
        chain = chain.do(f"step-{n}", yes)
    flow = chain.compile()
    begun = process_time()
    for strange, near in {
        "completed:wide.v1/stop-4711": "completed:wide.v1/step-4711",  # ends like it
        "completed:wide.v1/step-4711b": "completed:wide.v1/step-4711",  # begins like it
        "completed:wide.v2/step-4711": "completed:wide.v1/step-4711",
    }.items():
        with pytest.raises(UnknownState, match=f"the most similar known one is '{near}'"):
            flow.apply([strange])
    assert process_time() - begun < 3  # a comparison with each of them takes that long for one
