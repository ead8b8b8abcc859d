"""Types of the input and of the result of a workflow: registration refuses those that cannot be stored, with their path."""

from __future__ import annotations

import pytest
from attrs import define

from stepflow import Context, DefinitionError, Engine, workflow
from stepflow.engine.clock import VirtualClock


class Opaque:
    """Has no fields."""


@define
class Line:
    price: complex


@define
class Order:
    lines: list[Line]


@define
class Later:
    ref: dict[str, str | bytes]


@workflow("input")
def bad_input(wf: Context, order: Order) -> int:
    return len(order.lines)


@workflow("result")
def bad_result(wf: Context) -> list[Later]:
    return []


@workflow("opaque")
def opaque(wf: Context, what: Opaque) -> None:
    del what


@workflow("missing")
def missing(wf: Context, order: Nowhere) -> None:  # type: ignore[name-defined]  # noqa: F821
    del order


@workflow("plain")
def plain(wf: Context, order: dict[str, int]):  # type: ignore[no-untyped-def]
    return order["n"]


@pytest.mark.parametrize(
    ("flow", "texts"),
    [
        (bad_input, ["workflow 'input'", "Order.lines[].price", "complex"]),
        (bad_result, ["workflow 'result'", ".ref{}", "str | bytes"]),
        (opaque, ["workflow 'opaque'", "Opaque"]),
        (missing, ["workflow 'missing'", "Nowhere"]),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else "",
)
def test_registration_refuses_the_type_with_its_path(flow, texts) -> None:  # type: ignore[no-untyped-def]
    with Engine("memory://", clock=VirtualClock()) as engine:
        with pytest.raises(DefinitionError) as refused:
            engine.register(plain, flow)
        assert [text for text in texts if text not in str(refused.value)] == []
        engine.register(plain)
        assert engine.start(plain, {"n": 1}).status() == "queued"
