"""replace(): a step with a fake, for tests."""

from __future__ import annotations

from typing import Any

import pytest

from stepflow import DefinitionError, Engine, RetryPolicy, Steps, named
from stepflow.testing import VirtualClock


def real(order: dict[str, Any]) -> None:
    raise AssertionError("the real one was called")


def never(order: dict[str, Any]) -> bool:
    return real(order) is None


def take(order: dict[str, Any], payload: int) -> None:
    real(order)


FLOW = (
    named("order", dict)
    .do("charge", real)
    .retry("again", RetryPolicy(2), Steps().do("ship", real))
    .wait_for("arrived", never)
    .case("gift", never, Steps().do("wrap", real))
    .loop_until("done", never, Steps().do("turn", real))
    .wait_event("answer", "answered", int, take)
    .compile()
)
STEPS = ["charge", "ship", "arrived", "gift", "wrap", "done", "turn", "answer"]


def faked() -> Any:
    flow = FLOW
    for step in STEPS:
        if step in ("arrived", "gift", "done"):
            flow = flow.replace(step, lambda order, step=step: order["log"].append(step) or True)
        elif step == "answer":
            flow = flow.replace(step, lambda order, payload: order["log"].append(f"answer {payload}"))
        else:
            flow = flow.replace(step, lambda order, step=step: order["log"].append(step))
    return flow


def test_every_kind_of_step_can_be_replaced():
    with Engine("memory://", clock=VirtualClock()) as engine:
        flow = faked()
        engine.register(flow)
        run = engine.start(flow, {"log": []})
        run.publish("answered", 3)
        engine.run_until_idle(advance=True)
        assert run.result()["log"] == ["charge", "ship", "arrived", "gift", "wrap", "turn", "done", "answer 3"]


def test_positions_and_the_definition_stay():
    flow = faked()
    assert flow.fingerprint == FLOW.fingerprint
    assert flow.definition == FLOW.definition
    assert flow.options == FLOW.options
    assert flow.name == FLOW.name
    assert flow.transitions == FLOW.transitions


def test_the_original_does_not_change():
    FLOW.replace("charge", lambda order: None)
    with pytest.raises(AssertionError, match="the real one"):
        FLOW.apply(None, {})


def test_the_exchange_type_stays_when_the_annotations_gave_it():
    flow = named("x").do("a", real).compile()
    other = flow.replace("a", lambda order: None)
    assert other.definition == flow.definition


def test_an_async_fake():
    async def fake(order: dict[str, Any]) -> None:
        order["charged"] = True

    flow = named("x", dict).do("charge", real).compile().replace("charge", fake)
    assert not flow.inline
    with Engine("memory://", clock=VirtualClock()) as engine:
        engine.register(flow)
        run = engine.start(flow, {})
        engine.run_until_idle()
        assert run.result() == {"charged": True}


def test_a_name_that_occurs_twice_needs_its_path():
    flow = named("x", dict).steps("a", Steps().do("send", real)).steps("b", Steps().do("send", real)).compile()
    with pytest.raises(DefinitionError, match="several: x/a/send, x/b/send"):
        flow.replace("send", lambda order: None)
    assert flow.replace("a/send", lambda order: None).apply(None, {}) == ["completed:x/a/send"]


@pytest.mark.parametrize(
    ("step", "fn", "text"),
    [
        ("charg", lambda order: None, "most similar: charge"),
        ("", lambda order: None, "there is none"),
        (3, lambda order: None, "there is none"),
        ("charge", 3, "order/charge: 3 is not callable"),
        ("charge", lambda a, b: None, "required parameters"),
        ("answer", lambda a, b, c: None, "required parameters"),
    ],
)
def test_what_cannot_be_replaced_is_refused(step, fn, text):
    with pytest.raises(DefinitionError, match=text):
        FLOW.replace(step, fn)
