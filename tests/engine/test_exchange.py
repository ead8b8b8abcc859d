"""The exchange: its types, in-place changes, round trips, limits, and its content after an error."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, TypedDict
from uuid import UUID

import attrs
import pytest

from stepflow import CodecError, RunFailed, Status, Steps, TooLarge, named
from tests.engine.flows import Broken, Flaky, Order, note


class Colour(Enum):
    RED = "red"


@attrs.define
class Line:
    sku: str
    price: Decimal


@attrs.define
class Rich:
    at: datetime
    key: UUID
    wait: timedelta
    colour: Colour
    lines: list[Line]
    extra: dict[str, int | None] = attrs.field(factory=dict)
    blob: bytes = b""
    touched: int = 0


@dataclass
class Data:
    amount: int
    tags: set[str] = field(default_factory=set)
    touched: int = 0


class Typed(TypedDict):
    amount: int
    touched: int


RICH = Rich(
    datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
    UUID(int=7),
    timedelta(days=3, microseconds=1),
    Colour.RED,
    [Line("a", Decimal("1.10")), Line("ü✓", Decimal("1e-30"))],
    {"x": None, "y": 2},
    b"\x00\xff",
)


def touch_log(order: Order) -> None:
    order.log.append("touched")


def touch(exchange: Any) -> None:
    exchange.touched += 1


def touch_dict(exchange: Any) -> None:
    exchange["touched"] += 1


@pytest.mark.parametrize(
    ("type_", "given", "step", "expected"),
    [
        (Rich, RICH, touch, attrs.evolve(RICH, touched=2)),
        (Data, Data(5, {"a", "b"}), touch, Data(5, {"a", "b"}, 2)),
        (Typed, {"amount": 5, "touched": 0}, touch_dict, {"amount": 5, "touched": 2}),
        (dict[str, int], {"touched": 0}, touch_dict, {"touched": 2}),
        (None, {"touched": 0, "deep": [{"ü": None}]}, touch_dict, {"touched": 2, "deep": [{"ü": None}]}),
        (list[int], [1], lambda items: items.append(2), [1, 2, 2]),
        (None, None, lambda: None, None),
        (None, "text\0with \x1f everything 😀", lambda: None, "text\0with \x1f everything 😀"),
    ],
    ids=["attrs", "dataclass", "typeddict", "dict", "plain", "list", "none", "text"],
)
def test_a_changed_exchange_comes_back_as_its_type(engine, type_, given, step, expected):
    flow: Any = (named("x") if type_ is None else named("x", type_)).do("a", step).do("b", step).compile()
    engine.register(flow)
    run = engine.start(flow, given)
    engine.run_until_idle()
    assert run.result() == expected
    assert type(run.result()) is type(expected)


def test_the_type_may_come_from_the_annotations(engine):
    def pack(order: Order) -> None:
        order.log.append(type(order).__name__)

    flow = named("x").do("pack", pack).do("count", lambda order: order.log.append("!")).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    engine.run_until_idle()
    assert run.result() == Order(1, ["Order", "!"])


def test_an_object_without_a_named_type_is_refused_with_the_remedy(engine):
    flow = named("x").do("nop", lambda: None).compile()
    with pytest.raises(CodecError, match=r'name the type of the exchange, e\.g\. named\("x", Order\)'):
        engine.start(flow, Order(), id="one")
    assert engine.runs() == []


def test_steps_get_a_copy_from_the_first_claim_on(engine):
    seen: list[Order] = []
    flow = named("x", Order).do("look", seen.append).do("again", seen.append).compile()
    engine.register(flow)
    mine = Order()
    engine.start(flow, mine)
    mine.log.append("changed after start")
    engine.run_until_idle()
    assert seen[0] is not mine
    assert seen == [Order(), Order()]


def test_types_that_json_cannot_distinguish_differ_at_the_first_step(engine):
    seen: list[Any] = []
    flow = named("x").do("look", lambda e: seen.append(dict(e))).compile()
    engine.register(flow)
    engine.start(flow, {"pair": (1, 2)})
    engine.run_until_idle()
    assert seen == [{"pair": [1, 2]}]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"x": float("nan")}, r"\$\.x is nan: JSON has no such number, use None or a text"),
        ({"x": object()}, r"\$\.x is <object .*>: object is not a JSON type; name the type of the exchange"),
        ({"x": datetime(2026, 1, 1)}, "datetime is not a JSON type; name the type of the exchange"),  # noqa: DTZ001
        ({1, 2}, "set is not a JSON type; name the type of the exchange"),
    ],
)
def test_an_input_that_cannot_be_stored_is_refused_at_start(engine, value, why):
    with pytest.raises(CodecError, match=why):
        engine.start(named("x").do("nop", lambda: None).compile(), value)
    assert engine.runs() == []


def test_a_datetime_without_zone_is_refused_with_the_remedy(engine):
    flow = named("x", Rich).do("nop", lambda: None).compile()
    with pytest.raises(CodecError, match=r"datetime\.now\(UTC\)"):
        engine.start(flow, attrs.evolve(RICH, at=datetime(2026, 1, 1)))  # noqa: DTZ001


def test_a_step_that_makes_the_exchange_unstorable_fails_at_that_step(engine):
    def spoil(exchange: dict[str, Any]) -> None:
        exchange["bad"] = object()

    flow = named("x").do("good", touch_dict).do("spoil", spoil).do("never", touch_dict).compile()
    engine.register(flow)
    run = engine.start(flow, {"touched": 0})
    engine.run_until_idle()
    with pytest.raises(RunFailed, match=r"CodecError: .*\$\.bad is .*: object is not a JSON type"):
        run.result()
    assert run.exchange() == {"touched": 1}
    assert run.info().position == ["completed:x/good"]


def test_a_step_that_puts_another_type_into_a_field_fails_at_that_step(engine):
    def spoil(order: Order) -> None:
        order.amount = "many"  # type: ignore[assignment]

    flow = named("x", Order).do("a", touch_log).do("spoil", spoil).do("b", touch_log).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    engine.run_until_idle()
    with pytest.raises(RunFailed, match=r"Order\.amount: expected int, found 'many'"):
        run.result()
    assert run.info().position == ["completed:x/a"]
    assert run.exchange() == Order(1, ["touched"])


def test_a_forgotten_exchange_is_refused_at_start(engine):
    flow = named("x", Order).do("a", lambda: None).compile()
    with pytest.raises(CodecError, match="None is not of type Order: give one"):
        engine.start(flow)
    with pytest.raises(CodecError, match="None is not of type Order"):
        engine.start(named("y").do("a", touch_log).compile())  # the annotations say so, too
    assert engine.runs() == []


def test_after_an_error_the_last_commit_remains(engine):
    flow = named("x", Order).do("pack", note("pack")).do("pay", Flaky(1)).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    engine.run_until_idle()
    assert run.exchange() == Order(1, ["pack"])
    run.redrive()
    engine.run_until_idle()
    assert run.result() == Order(1, ["pack", "try 2"])


def test_a_handler_that_returns_true_saves_its_changes(engine):
    def again(order: Order, error: Exception) -> bool:
        order.log.append(f"handled {error}")
        return str(error) == "call 1"

    flow = named("x", Order).retry("pay", again, Steps(Order).do("pay", Flaky(1))).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    engine.run_until_idle()
    assert run.result().log == ["handled call 1", "try 2"]
    entry = run.history()[1]
    assert (entry.position, entry.exchange["log"]) == (["start:x/payRetry"], ["handled call 1"])
    assert entry.error is not None
    assert entry.error.message.startswith("call 1")


def test_a_handler_that_says_no_saves_nothing(engine):
    def no(order: Order, _error: Exception) -> bool:
        order.log.append("handled")
        return False

    flow = named("x", Order).do("pack", note("pack")).retry("pay", no, Steps(Order).do("pay", Flaky(1))).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    engine.run_until_idle()
    assert run.status() is Status.FAILED
    assert run.exchange() == Order(1, ["pack"])


def test_a_handlers_own_error_replaces_the_first(engine):
    def worse(_error: Exception) -> bool:
        raise Broken("worse")

    flow = named("x", Order).retry("pay", worse, Steps(Order).do("pay", Flaky(1))).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    engine.run_until_idle()
    with pytest.raises(RunFailed, match="worse") as failed:
        run.result()
    assert "call 1" in failed.value.traceback  # its cause


def test_returning_another_exchange_is_an_error_that_no_retry_hides(engine):
    calls: list[int] = []

    def swap(_order: Order) -> Order:
        calls.append(1)
        return Order(99)

    flow = named("x", Order).retry("r", lambda _error: True, Steps(Order).do("swap", swap)).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    engine.run_until_idle()
    with pytest.raises(RunFailed, match="would be lost: change the Order"):
        run.result()
    assert calls == [1]


def test_ten_megabytes_work(engine):
    flow = named("x").do("a", touch_dict).do("b", touch_dict).compile()
    engine.register(flow)
    text = "ü" * 5_000_000
    run = engine.start(flow, {"touched": 0, "text": text})
    engine.run_until_idle()
    assert run.result() == {"touched": 2, "text": text}


def test_twenty_megabytes_are_too_large_at_start(engine):
    with pytest.raises(TooLarge, match=r"20,000,\d\d\d bytes as JSON, the limit is 16,777,216: keep large things"):
        engine.start(named("x").do("nop", lambda: None).compile(), {"text": "x" * 20_000_000})
    assert engine.runs() == []


def test_twenty_megabytes_made_by_a_step_fail_the_run_and_keep_the_last_exchange(engine):
    def grow(exchange: dict[str, Any]) -> None:
        exchange["text"] = "x" * 20_000_000

    flow = named("x").do("a", touch_dict).do("grow", grow).compile()
    engine.register(flow)
    run = engine.start(flow, {"touched": 0})
    engine.run_until_idle()
    with pytest.raises(RunFailed, match=r"TooLarge: .*the limit is 16,777,216"):
        run.result()
    assert run.exchange() == {"touched": 1}
