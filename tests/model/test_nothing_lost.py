"""A codec restores every value unchanged or refuses it before it is stored; it never converts a value with loss."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass
from typing import Annotated, Any, Generic, Literal, NewType, TypedDict, TypeVar

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow.errors import CodecError
from stepflow.model.codec import Codec, UnknownFields, takes_none
from stepflow.model.converter import converter

T = TypeVar("T")
Sku = NewType("Sku", str)


class Row(TypedDict):
    a: int


@dataclass
class Order:
    n: int = 0
    tags: list[str] = field(default_factory=list)
    total: int = field(init=False, default=7)


@attrs.define
class Parcel:
    weight: float
    order: Order = attrs.Factory(Order)
    seen: int = attrs.field(init=False, default=0)


@dataclass
class Big(Order):
    extra: int = 1


@dataclass
class Same(Order):
    """No field of its own."""


@dataclass(frozen=True)
class Fixed:
    n: int
    twice: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "twice", self.n * 2)


@attrs.frozen
class FixedParcel:
    n: int
    twice: int = attrs.field(init=False)

    @twice.default
    def _twice(self) -> int:
        return self.n * 2


@dataclass
class Box(Generic[T]):
    inside: T


class Plain:
    pass


@dataclass
class Locked:
    lock: threading.Lock


@pytest.mark.parametrize(
    ("type_", "value", "why"),
    [
        (list[int], [1, "x"], "an element of list[int]: expected int, found 'x'"),
        (list[int | None], [None, 1.5], "expected int, found 1.5"),
        (Sequence[str], ["a", 2], "expected str, found 2"),
        (Sequence[str], ("a", "b"), "expected a list, found ('a', 'b'): give a list"),
        (list[int], [1, 2.0], "an element of list[int]: expected int, found 2.0"),
        (set[str], {"a", 1}, "an element of set[str]: expected str, found 1"),
        (dict[str, int], {"a": "b"}, "an element of dict[str, int]: expected int, found 'b'"),
        (dict[str, list[float]], {"a": [1.0], "b": ["z"]}, "an element of list[float]"),
        (tuple[int, ...], (1, None), "an element of tuple[int, ...]"),
        (tuple[int, str], ("a", 1), "element 0 of tuple[int, str]: expected int, found 'a'"),
        (tuple[int, str], (1,), "expected 2 elements of tuple[int, str], found (1,)"),
        (tuple[int, str], "1a", "expected a list, found '1a'"),
    ],
)
def test_an_element_that_would_not_come_back_is_refused_when_it_is_stored(type_, value, why):
    with pytest.raises(CodecError, match=re.escape(why)):
        Codec(type_).encode(value)


def test_a_refused_value_stays_refused_after_others_were_stored():
    for other in (dict[str, float], Row, Box[int], set[int], dict[str, Row], tuple[int, ...], Order):
        with pytest.raises(CodecError, match="expected int, found 'b'"):
            Codec(dict[str, int]).encode({"a": "b"})  # type: ignore[dict-item]
        Codec(other)
        converter().get_structure_hook(other)
        converter().register_structure_hook(attrs.make_class("Other", []), lambda _value, _type: None)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (list[int], [1, True]),
        (list[float], [1, True, 2.0]),
        (list[int | None], [None, 1]),
        (dict[int, str], {1: "a"}),
        (dict[str, Any], {"a": [1, "b"]}),
        (tuple[int, str], (1, "a")),
        (tuple[()], ()),
        (list, [1, "a"]),
    ],
)
def test_elements_that_come_back_are_taken(type_, value):
    codec: Codec[Any] = Codec(type_)
    assert codec.decode(codec.encode(value)) == value


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (int, "1.7"),
        (int, '"x"'),
        (int, "1e400"),
        (int, "[]"),
        (bool, '"false "'),
        (bool, "0"),
        (float, '"x"'),
        (float, '"nan"'),
        (float, "Infinity"),
        (str, "3"),
        (str, "null"),
        (str, "true"),
        (list[str], '"abc"'),
        (list[int], '{"1": 2}'),
        (Sequence[str], '"abc"'),
        (dict[str, list[str]], '{"a": "abc"}'),
        (int | None, "1.5"),
        (Sku, "3"),
        (Box[int], '{"inside": "x"}'),
        (Row, '{"a": "x"}'),
    ],
)
def test_a_value_of_another_type_is_refused_and_never_bent(type_, text):
    with pytest.raises(CodecError, match="the stored value does not fit"):
        Codec(type_).decode(text)


@given(st.integers(), st.integers(), st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3))
def test_fields_that_the_constructor_does_not_take_are_kept(n: int, total: int, tags: list[str]):
    order = Order(n, tags)
    order.total = total
    parcel = Parcel(1.5, order)
    parcel.seen = n
    codec = Codec(Parcel)
    back = codec.decode(codec.encode(parcel))
    assert back == parcel
    assert (back.seen, back.order.total) == (n, total)
    assert (codec.digest(parcel) == codec.digest(Parcel(1.5, Order(n, tags)))) == (total == 7 and n == 0)


def test_such_a_field_may_be_missing_in_a_text_of_an_older_version():
    assert Codec(Order).decode('{"n":1,"tags":[]}') == Order(1)


@attrs.define
class FixedField:
    n: int
    twice: int = attrs.field(init=False, on_setattr=attrs.setters.frozen)

    @twice.default
    def _twice(self) -> int:
        return self.n * 2


@pytest.mark.parametrize("value", [Fixed(3), FixedParcel(3), FixedField(3)])
def test_such_a_field_that_is_frozen_is_computed_again(value):
    codec = Codec(type(value))
    assert codec.encode(value) == '{"n":3}'
    assert codec.decode('{"n":3}').twice == 6


def test_an_object_of_a_subclass_with_fields_is_refused_and_the_fields_are_named():
    with pytest.raises(CodecError, match=r"fields that Order lacks \(extra\) and that would be lost: declare Big"):
        Codec(Order).encode(Big(1))
    with pytest.raises(CodecError, match=r"fields that Order lacks \(extra\)"):
        Codec(Parcel).encode(Parcel(1.5, Big(1)))
    with pytest.raises(CodecError, match=r"fields that Order lacks \(extra\)"):
        Codec(dict[str, list[Order]]).encode({"a": [Order(), Big(1)]})


def test_an_object_of_a_subclass_without_fields_is_refused_because_its_methods_would_be_lost():
    with pytest.raises(CodecError, match="is of Same, a subclass of Order, and would come back as Order: declare Same"):
        Codec(Order).encode(Same(1))


@pytest.mark.parametrize(
    ("type_", "value", "says"),
    [
        (Order, Order("x"), r"does not fit Order: Order\.n: expected int, found 'x'"),  # type: ignore[arg-type]
        (Order, Order(1, "ab"), r"does not fit Order: Order\.tags: expected a list, found 'ab'"),  # type: ignore[arg-type]
        (Order, Order(1, [None]), r"an element of list\[str\]: expected str, found None"),  # type: ignore[list-item]
        (Parcel, Parcel(1, 3), "is not of type Order|cannot be stored as JSON"),  # type: ignore[arg-type]
        (int, "seven", "expected int, found 'seven'"),
    ],
)
def test_the_digest_of_an_input_refuses_values_that_cannot_be_restored(type_, value, says):
    with pytest.raises(CodecError, match=says):
        Codec(type_).digest(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1]", r"expected an object with the fields of Parcel \(weight, order, seen\), found \[1\]"),
        ("null", "expected an object with the fields of Parcel"),
        ('{"weight": 1, "order": 3}', r"expected an object with the fields of Order \(n, tags, total\) @ \$\.order"),
        ('{"weight": 1, "order": []}', r"expected an object with the fields of Order .* @ \$\.order"),
        ('{"weight": 1, "order": {"n": 1.5, "tags": [1]}}', r"found 1\.5 @ \$\.order\.n; .*found 1 @ \$\.order\.tags\[0\]"),
        ("{}", r"required field missing @ \$\.weight"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_reported_with_its_path(text, says):
    with pytest.raises(CodecError, match=says) as caught:
        Codec(Parcel).decode(text)
    assert not isinstance(caught.value, UnknownFields)


@pytest.mark.parametrize("type_", [Plain, list[Plain], Locked, Box[Plain], 3, threading.Lock, Plain()])
def test_a_type_that_cannot_be_restored_is_refused_before_a_value_is_stored(type_):
    with pytest.raises(
        CodecError, match=r"cannot be stored as JSON: .* cannot be restored from JSON: make it one of dataclasses"
    ):
        Codec(type_)


def test_the_text_of_a_type_is_refused_as_a_text():
    with pytest.raises(
        CodecError, match=r"cannot be stored as JSON: int is the text 'int', not a type: give the type itself"
    ):
        Codec("int")


def test_an_unknown_name_in_an_annotation_is_reported_with_its_remedy():
    with pytest.raises(CodecError, match=r"'Nowhere' is not defined: define it at the top level of its module"):
        Codec(make_dataclass("Lost", [("x", "Nowhere")]))


def test_none_is_accepted_only_where_the_type_allows_it():
    takers = [Any, object, None, type(None), int | None, Order | None, Annotated[int | None, "x"], Literal["a", None]]
    assert all(map(takes_none, takers))
    assert not any(map(takes_none, [int, Order, list[None], dict[str, None], Annotated[int, None], Literal["a"], Sku]))
    for type_ in takers[:-1]:
        assert Codec(type_).decode(Codec(type_).encode(None)) is None
    for type_ in (int, str, Order, list[int], Row):
        with pytest.raises(CodecError, match="None is not of type "):
            Codec(type_).encode(None)
        with pytest.raises(CodecError, match="the stored value does not fit"):
            Codec(type_).decode("null")


class Rude:
    def __repr__(self) -> str:
        raise ValueError("no repr today")


def test_a_value_that_cannot_even_be_shown_is_refused_all_the_same():
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(CodecError, match=r"a value of type list cannot be stored as JSON: .* is nested more than"):
        Codec[Any]().encode(deep)
    with pytest.raises(CodecError, match=r"\$\.a is a value of type Rude: Rude is not a JSON type"):
        Codec[Any]().encode({"a": Rude()})
