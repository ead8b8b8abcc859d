"""apply with every sort of position, and the objects that it does not change: cases that the origin does not test."""

from __future__ import annotations

from typing import Any

import pytest

from stepflow.errors import NeedsEngine, StepflowError, UnknownState
from stepflow.steps import Steps, named
from tests.steps.helpers import Fail, history


class Order:
    def __init__(self) -> None:
        self.log: list[str] = []
        self.broken = False


def note(text: str):
    def step(order: Order) -> None:
        if order.broken:
            raise Fail(text)
        order.log.append(text)

    return step


flow = named("order", Order).do("a", note("a")).steps("g", Steps(Order).do("b", note("b"))).do("c", note("c")).compile()


def test_none_and_the_empty_list_both_start():
    """U3, reversed: the origin refuses an empty list."""
    for state in (None, []):
        order = Order()
        assert flow.apply(state, order) == ["completed:order/a"]
        assert order.log == ["a"]


def test_an_error_raises_and_leaves_the_position_good():
    """U1, reversed: the origin returns a null state beside the error."""
    order = Order()
    state = flow.apply([], order)
    order.broken = True
    with pytest.raises(Fail) as caught:
        flow.apply(state, order)
    assert state == ["completed:order/a"]
    assert caught.value.__notes__ == ["in step order/g/b"]
    order.broken = False
    assert flow.apply(state, order) == ["completed:order/g/b"]


def test_one_error_object_raised_again_gets_its_note_once():
    error = Fail("same")

    def raising() -> None:
        raise error

    broken = named("x").do("a", raising).compile()
    for _ in range(3):
        with pytest.raises(Fail):
            broken.apply([])
    assert error.__notes__ == ["in step x/a"]


def test_a_forgotten_exchange_is_pointed_out():
    with pytest.raises(AttributeError) as caught:
        flow.apply([])  # type: ignore[call-arg]
    assert caught.value.__notes__ == ["in step order/a, which takes the exchange, but none was given"]


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, StopIteration, GeneratorExit])
def test_every_kind_of_error_comes_out_as_it_is(raised):
    def raising() -> None:
        raise raised

    inner = Steps().do("a", raising)
    for chain in (named("x").do("a", raising), named("x").retry("r", lambda error: False, inner)):
        with pytest.raises(raised):
            chain.compile().apply([])


def test_a_base_exception_is_no_business_of_a_retry():
    def interrupted() -> None:
        raise KeyboardInterrupt

    asked: list[Any] = []
    guarded = named("x").retry("r", lambda e: bool(asked.append(e)), Steps().do("a", interrupted)).compile()
    with pytest.raises(KeyboardInterrupt):
        guarded.apply([])
    assert asked == []


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ("completed:order/a", "not a position: give the list"),
        ("x", "not a position: give the list"),
        ("", "not a position: give the list"),
        (["completed:order/g/bb"], r"'completed:order/g/bb' is not a position of order; the most similar known one is 'completed:order/g/b'"),
        (["start:other.v1"], "Was a step renamed or removed, or does it belong to another flow"),
        (["completed:order.v2/a"], "most similar known one is 'completed:order/a'"),
        ([""], "'' is not a position of order"),
        (["A"], "'A' is not a position of order"),
        ([1], "must be a list of strings"),
        ([["start:order"]], "must be a list of strings"),
        ([None], "must be a list of strings"),
        ({"start:order": 1}, "not a position: give the list"),
        ({"start:order"}, "not a position: give the list"),
        (7, "not a position: give the list"),
        (b"start:order", "not a position: give the list"),
        (["completed:order/a", "completed:order/g/b"], "has 2 positions: order has one at a time"),
        (["start:order", "start:order"], "has 2 positions"),
        (["other", "start:order"], "'other' is not a position of order"),
        (["start:order", "other"], "'other' is not a position of order"),
        (["attempt:2:order/a"], "only attempts"),
        (["start:order", "attempt:2"], "'attempt:2' is not an attempt"),
        (["start:order", "attempt:x:order/a"], "is not an attempt"),
        (["start:order", "attempt:-1:order/a"], "is not an attempt"),
        (["start:order", "attempt:²:order/a"], "is not an attempt"),
        (["start:order", "attempt::order/a"], "is not an attempt"),
        (["start:order", "attempt:0:order/a"], "is not an attempt"),
        (["start:order", f"attempt:{'9' * 5000}:order/a"], "is not an attempt"),
        (["x" * 1_000_000], "^'x{400}'... is not a position of order. Was a step renamed"),
    ],
)  # fmt: skip
def test_an_unknown_position_is_refused_before_anything_is_called(state, says):
    """U2, U8: positions that the table does not know, and more than one position (the origin uses the first)."""
    order = Order()
    for ask in (flow.apply, lambda s, _o: flow.wait_s(s), lambda s, _o: flow.diagram("text", state=s)):
        with pytest.raises(UnknownState, match=says):
            ask(state, order)
    assert order.log == []


def test_attempts_of_a_group_that_is_not_around_are_dropped():
    assert flow.apply(["completed:order/a", "attempt:3:order/goneRetry"], Order()) == ["completed:order/g/b"]
    assert flow.apply(["completed:order", "attempt:3:order/goneRetry"], Order()) == ["completed:order"]


def test_every_source_is_a_good_position():
    for edge in flow.transitions:
        assert len(flow.apply([edge.source], Order())) == 1


def test_a_finished_flow_stays_finished_and_calls_nothing():
    """U13."""
    order = Order()
    done = ["completed:order"]
    assert flow.apply(done, order) == done
    assert flow.apply(done, order) is not done
    assert order.log == []


def test_a_tuple_is_as_good_as_a_list():
    assert flow.apply(("completed:order/a",), Order()) == ["completed:order/g/b"]  # type: ignore[arg-type]
    assert flow.is_completed(("completed:order",))  # type: ignore[arg-type]


def test_a_hundred_and_twenty_nested_groups_are_left_in_two_applies():
    """U4, reversed: the origin stops silently after 100 static transitions and needs 4 calls of apply."""
    chain = Steps().do("f", lambda: None)
    for _ in range(120):
        chain = Steps().steps("g", chain)
    assert len(history(chain.compile())) == 2


def test_a_chain_without_steps_needs_one_apply():
    assert history(named("empty").compile()) == ["completed:empty"]
    assert history(named("e").steps("a", Steps()).steps("b", Steps().steps("c", Steps())).compile()) == ["completed:e"]


def test_empty_bodies():
    rounds: list[int] = []

    def third() -> bool:
        rounds.append(1)
        return len(rounds) == 3

    looped = (
        named("x").case("c", lambda: True, Steps()).loop_until("l", third, Steps()).retry("r", lambda e: True, Steps())
    )
    assert history(looped.compile()) == [
        "start:x/cCase/steps",
        "start:x/lLoopUntil/steps",
        "start:x/lLoopUntil/steps",
        "completed:x/lLoopUntil",
        "completed:x",
    ]


def test_a_wait_event_needs_an_engine():
    waiting = named("x").do("a", lambda: None).wait_event("ok", "approved", dict, lambda payload: None).compile()
    state = waiting.apply([])
    with pytest.raises(NeedsEngine, match=r"x/okWaitEvent waits for the event 'approved'.*start the flow on an Engine"):
        waiting.apply(state)
    assert waiting.wait_s(state) == 0


def test_the_wait_of_an_external_loop():
    answers = iter([False, True])
    polling = named("x").do("a", lambda: None).wait_for("w", lambda: next(answers), every=2.5).compile()
    assert polling.wait_s(None) == 0
    state = polling.apply([])
    assert polling.wait_s(state) == 0
    state = polling.apply(state)
    assert state == ["start:x/wWaitFor"]
    assert polling.wait_s(state) == 2.5
    state = polling.apply(state)
    assert polling.wait_s(state) == 0
    assert polling.wait_s(["completed:x"]) == 0


def test_a_position_of_an_older_definition():
    """U10."""
    old = named("x").do("a", lambda: None).do("c", lambda: None).compile()
    state = old.apply([])
    log: list[str] = []
    longer = named("x").do("a", log.clear).do("b", lambda: log.append("b")).do("c", lambda: log.append("c")).compile()
    assert longer.apply(state) == ["completed:x/b"]  # a step inserted after the stored one is run
    assert longer.apply(["completed:x/b"]) == ["completed:x/c"]
    shorter = named("x").do("a", lambda: None).compile()
    assert shorter.apply(state) == ["completed:x"]  # one removed behind it is not missed
    renamed = named("x").do("aa", lambda: None).do("c", lambda: None).compile()
    with pytest.raises(UnknownState, match="most similar known one is 'completed:x/aa'"):
        renamed.apply(state)
    with pytest.raises(UnknownState, match=r"'completed:x/a' is not a position of x\.v2"):
        named("x.v2").do("a", lambda: None).compile().apply(state)


@pytest.mark.parametrize("returned", [1, "x", [], {}, True, object()])
def test_the_return_value_of_a_step_is_ignored(returned):
    assert named("x", Order).do("a", lambda order: returned).compile().apply([], Order()) == ["completed:x/a"]


def test_a_step_may_return_the_exchange_it_was_given():
    assert named("x", Order).do("a", lambda order: order).compile().apply([], Order()) == ["completed:x/a"]


def test_another_exchange_would_be_lost_and_is_refused():
    wrong = named("x", Order).do("a", lambda order: Order()).compile()
    with pytest.raises(StepflowError, match="x/a: the function returned another Order, which would be lost"):
        wrong.apply([], Order())


@pytest.mark.parametrize("exchange", ["x", 1, 1.5, b"x", (1,)])
def test_an_exchange_that_cannot_change_in_place_gets_another_remedy(exchange):
    wrong = named("x").do("a", lambda given: given * 2).compile()
    with pytest.raises(StepflowError, match="cannot be changed in place, so make the exchange a class or a dict"):
        wrong.apply([], exchange)


@pytest.mark.parametrize("value", [None, 1, 0, "yes", [], "False"])
@pytest.mark.parametrize("kind", ["wait_for", "case", "loop_until"])
def test_a_condition_must_return_a_bool(kind, value):
    inner = [] if kind == "wait_for" else [Steps()]
    asked = getattr(named("x"), kind)("c", lambda: value, *inner).compile()
    with pytest.raises(StepflowError, match=r"x/c\w+: the condition returned .* it must return True or False"):
        asked.apply([])


def test_a_wrong_return_value_is_a_mistake_that_no_retry_repeats():
    calls: list[int] = []
    wrong = named("x").retry("r", lambda error: True, Steps().wait_for("w", lambda: calls.append(1)))  # type: ignore[arg-type]
    with pytest.raises(StepflowError, match="the condition returned None"):
        wrong.compile().apply([])
    assert calls == [1]


def test_a_compiled_flow_serves_many_runs_and_threads():
    from concurrent.futures import ThreadPoolExecutor

    def whole(_n: int) -> list[str]:
        order = Order()
        state: list[str] = []
        while not flow.is_completed(state):
            state = flow.apply(state, order)
        return order.log

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(whole, range(200))) == [["a", "b", "c"]] * 200
