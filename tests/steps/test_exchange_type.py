"""The stored type of the exchange, and the content of a flow's definition hash."""

from __future__ import annotations

import functools
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, make_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol, TypedDict, TypeVar

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow.errors import CodecError, DefinitionError
from stepflow.model.codec import Codec
from stepflow.steps import Steps, named
from tests.model.enum_types import Typed
from tests.model.type_trees import REFUSED, typed

if TYPE_CHECKING:
    from somewhere import Elsewhere  # type: ignore[import-not-found]


@dataclass
class Line:
    sku: str


@dataclass
class Order:
    id: str
    lines: list[Line] = field(default_factory=list)


@attrs.frozen
class Parcel:
    weight: int
    order: Order | None = None


class Entry(TypedDict):
    a: int


class HasId(Protocol):
    id: str


T = TypeVar("T")


def on_order(order: Order) -> bool:
    return True


def on_order_again(something: Order) -> None: ...
def on_parcel(parcel: Parcel) -> None: ...
def on_anything(x: Any) -> None: ...
def on_object(x: object) -> None: ...
def on_elsewhere(x: Elsewhere) -> None: ...
def on_protocol(x: HasId) -> None: ...
def on_type_variable(x: T) -> T:
    return x


def unannotated(x): ...
def handler(order: Order, error: Exception) -> bool:
    return True


def handler_without(error: Exception) -> bool:
    return True


def take(order: Order, payload: Parcel) -> None: ...
def with_default(parcel: Parcel = Parcel(1)) -> None: ...


class Client:
    def send(self, order: Order) -> None: ...
    def __call__(self, order: Order) -> None: ...


@pytest.mark.parametrize(
    ("chain", "type_"),
    [
        (named("x", Parcel).do("a", on_order), Parcel),
        (named("x").do("a", on_order), Order),
        (named("x").do("a", on_order).do("b", on_order_again), Order),
        (named("x").do("a", on_order).do("b", on_parcel), Any),
        (named("x").do("a", unannotated).do("b", on_anything).do("c", on_object), Any),
        (named("x").do("a", on_anything).do("b", on_order).do("c", on_protocol).do("d", on_type_variable), Order),
        (named("x").do("a", on_elsewhere).do("b", on_order), Order),
        (named("x").do("a", Client().send), Order),
        (named("x").do("a", Client()), Order),
        (named("x").do("a", functools.partial(on_order)), Order),
        (named("x").do("a", with_default), Any),
        (named("x").wait_for("a", on_order), Order),
        (named("x").case("a", on_order, Steps()), Order),
        (named("x").loop_until("a", on_order, Steps()), Order),
        (named("x").steps("g", Steps().steps("g", Steps().do("a", on_order))), Order),
        (named("x").retry("a", handler, Steps().do("b", unannotated)), Order),
        (named("x").retry("a", handler_without, Steps().do("b", unannotated)), Any),
        (named("x").wait_event("a", "e", Parcel, take), Order),
        (named("x"), Any),
        (named("x", dict[str, int]), dict[str, int]),
    ],
)
def test_the_type_is_named_or_agreed_on(chain, type_):
    assert chain.compile().codec.type == type_


def test_the_codec_restores_the_exchange():
    codec = named("x").do("a", on_order).compile().codec
    assert codec.decode(codec.encode(Order("1", [Line("s")]))) == Order("1", [Line("s")])


def test_without_a_type_only_plain_json_is_accepted_and_the_message_shows_named():
    codec = named("x").do("a", unannotated).compile().codec
    assert codec.decode(codec.encode({"a": [1, None]})) == {"a": [1, None]}
    with pytest.raises(CodecError, match=r'name the type of the exchange, e\.g\. named\("x", Order\)'):
        codec.encode(Order("1"))


def test_a_stored_exchange_that_does_not_fit_names_both_ways_out():
    codec = named("x", Order).do("a", lambda: None).compile().codec
    with pytest.raises(
        CodecError, match=r"extra fields found \(zz\) @ \$; change the type, or map .* compile\(upgrade="
    ):
        codec.decode('{"zz": 1}')


def test_upgrade_runs_before_the_type_is_restored():
    def upgrade(raw: dict[str, Any]) -> dict[str, Any]:
        return {"id": raw["number"]}

    codec = named("x", Order).compile(upgrade=upgrade).codec
    assert codec.decode('{"number": "7"}') == Order("7")


def test_plain_apply_takes_any_object_as_exchange():
    class Live:
        def __init__(self) -> None:
            self.connection = object()
            self.done = False

    def work(live: Live) -> None:
        live.done = True

    live = Live()
    named("x", Live).do("a", work).compile().apply([], live)
    assert live.done


@given(typed() | st.sampled_from(REFUSED))
def test_compile_refuses_every_type_that_cannot_be_stored(one: Typed):
    """At the top level, too, where a union or an enum is a class as well."""
    assert compiles(one[0]) == is_storable(one[0])


@pytest.mark.parametrize(
    "type_",
    [
        str | bytes,
        complex | None,
        list[complex] | None,
        Annotated[complex, "note"],
        deque[complex],
        OrderedDict[str, complex],
        defaultdict[str, complex],
        Sequence[complex],
        Iterable[int],
        NamedTuple("Sum", [("n", complex)]),
        TypedDict("Part", {"n": complex}),
        Enum("Empty", []),  # type: ignore[var-annotated]  # it has no members
    ],
    ids=repr,
)
def test_compile_refuses_such_a_type_with_its_path(type_: Any):
    with pytest.raises(DefinitionError, match=r"x: .*cannot be stored as JSON: "):
        named("x", type_).do("a", lambda: None).compile()


def compiles(type_: Any) -> bool:
    try:
        named("x", type_).do("a", lambda: None).compile()
    except DefinitionError:
        return False
    return True


def is_storable(type_: Any) -> bool:
    try:
        Codec(type_)
    except CodecError:
        return False
    return True


def test_the_definition_is_the_fingerprint_and_the_stored_fields():
    @dataclass
    class Wider:
        id: str
        lines: list[Line]
        note: str = ""

    def definition(exchange: Any, step: str = "a") -> str:
        return named("x", exchange).do(step, unannotated).compile().definition

    assert definition(Order) == definition(Order)
    kinds = [definition(t) for t in (Order, Wider, Parcel, Entry, Line, dict[str, Any])]
    assert len({*kinds, definition(Order, "b")}) == len(kinds) + 1


def test_the_definition_sees_fields_of_nested_types():
    def make(name: str) -> Any:
        inner = attrs.make_class("Inner", {name: attrs.field(type=int)})
        return attrs.make_class("Outer", {"inner": attrs.field(type=list[inner] | None)})  # type: ignore[valid-type]

    first, second = (named("x", make(name)).compile().definition for name in ("a", "b"))
    assert first != second


def one(name: str, type_: Any, **more: Any) -> Any:
    return make_dataclass(name, [("x", type_, *([field(**more)] if more else []))])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Enum("Colour", {"RED": "red"}), Enum("Colour", {"RED": "red", "BLUE": "blue"})),
        (Enum("Colour", {"RED": "red"}), Enum("Colour", {"RED": "r"})),
        (TypedDict("Entry", {"a": int}), TypedDict("Entry", {"a": int}, total=False)),
        (TypedDict("Entry", {"a": int}), TypedDict("Entry", {"a": str})),
        (NamedTuple("Pair", [("a", int)]), NamedTuple("Pair", [("a", int), ("b", int)])),
        (one("Order", int), one("Order", str)),
        (one("Order", int), one("Order", int, default=3)),
        (one("Order", "Nowhere"), make_dataclass("Order", [("y", "Nowhere")])),
    ],
    ids=["member", "value", "required", "type", "tuple", "field", "default", "name"],
)
def test_the_definition_sees_what_decides_which_stored_texts_can_be_read(before, after):
    def definition(type_: Any) -> str:
        return named("x", dict[str, type_]).compile().definition

    assert definition(before) != definition(after)
    assert definition(before) == definition(before)


def test_a_type_that_contains_itself():
    assert len(named("x", Tree).compile().definition) == 64


@dataclass
class Tree:
    children: list[Tree]
