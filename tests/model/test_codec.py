"""Codec: values are restored unchanged, other values are refused with a remedy, unknown fields are never dropped."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple, TypedDict
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow.errors import CodecError, TooLarge
from stepflow.model.codec import MAX_BYTES, Codec, UnknownFields


class Colour(Enum):
    RED = "red"


class Row(TypedDict):
    a: int


@dataclass
class Line:
    sku: str
    price: Decimal = Decimal(0)


@attrs.define
class Everything:
    id: UUID
    at: datetime
    day: date
    noon: time
    span: timedelta
    raw: bytes
    colour: Colour
    price: Decimal
    lines: list[Line] = attrs.Factory(list)
    by_name: dict[str, Line] = attrs.Factory(dict)
    maybe: Line | None = None
    row: Row | None = None
    pair: tuple[int, str] = (0, "")


texts = st.text(st.characters(exclude_categories=["Cs"]))
zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
lines = st.builds(Line, texts, st.decimals(allow_nan=False, allow_infinity=False))
everything = st.builds(
    Everything,
    id=st.uuids(),
    at=st.datetimes(timezones=zones),
    day=st.dates(),
    noon=st.times(),
    span=st.timedeltas(min_value=timedelta(days=-10000), max_value=timedelta(days=10000)),
    raw=st.binary(),
    colour=st.just(Colour.RED),
    price=st.decimals(allow_nan=False, allow_infinity=False),
    lines=st.lists(lines, max_size=3),
    by_name=st.dictionaries(texts, lines, max_size=3),
    maybe=st.none() | lines,
    row=st.none() | st.fixed_dictionaries({"a": st.integers()}),
    pair=st.tuples(st.integers(), texts),
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


@given(everything)
def test_typed_values_come_back(value: Everything):
    codec = Codec(Everything)
    text = codec.encode(value)
    assert codec.decode(text) == value
    assert codec.encode(codec.decode(text)) == text


@given(plain)
def test_plain_values_come_back_and_their_digest_ignores_the_order_of_keys(value: Any):
    codec = Codec[Any]()
    text = codec.encode(value)
    assert codec.decode(text) == value
    assert codec.digest(value) == codec.digest(json.loads(json.dumps(value, sort_keys=True)))


def test_literal_texts():
    assert Codec[Any]().encode({"b": [1, "ä"], "a": None}) == '{"b":[1,"ä"],"a":null}'
    line = Line("x", Decimal("1.50"))
    assert Codec(Line).encode(line) == '{"sku":"x","price":"1.50"}'
    at = datetime(2024, 5, 6, 7, 8, tzinfo=UTC)
    assert Codec(datetime).encode(at) == '"2024-05-06T07:08:00+00:00"'
    assert Codec(timedelta).encode(timedelta(minutes=1.5)) == "90.0"


def test_no_class_name_is_stored():
    assert "Everything" not in Codec(list[Line]).encode([Line("x")])
    assert "Line" not in Codec(list[Line]).encode([Line("x")])


@pytest.mark.parametrize(
    ("codec", "value", "says"),
    [
        (Codec(), float("nan"), r"nan cannot be stored as JSON: JSON has no such number, use None or a text"),
        (Codec(), {"a": [0, {"b": float("inf")}]}, r"\$\.a\[1\]\.b is inf: JSON has no such number"),
        (Codec(), object(), r"<object object .*> cannot be stored as JSON: object is not a JSON type"),
        (Codec(), {"a": {1, 2}}, r"\$\.a is \{1, 2\}: set is not a JSON type"),
        (Codec(), {"a": {(1, 2): 3}}, r"a key of \$\.a is \(1, 2\): keys must be texts or numbers"),
        (Codec(), b"x", "bytes is not a JSON type"),
        (
            Codec(),
            {"name": ["\ud800"]},
            r"\$\.name\[0\] is '\\ud800': half of a surrogate pair cannot be encoded as UTF-8: decode",
        ),
        (Codec(Line), 3, "3 is not of type Line: give one"),
        (Codec(Line), {"sku": "x"}, r"\{'sku': 'x'\} is not of type Line: give one"),
        (Codec(Line), Line, "<class .*Line'> is not of type Line: give one"),
        (Codec(Line), None, "None is not of type Line: give one"),
        (Codec(Row), None, "None is not of type Row: give one"),
        (Codec(int), None, r"None is not of type int: give one, or declare the type as int \| None"),
        (Codec(Line), Line(object()), r"does not fit Line: Line\.sku: expected str, found <object"),  # type: ignore[arg-type]
        (Codec(datetime), datetime(2024, 1, 1), "has no time zone: give one"),  # noqa: DTZ001
    ],
)
def test_what_cannot_be_stored_is_refused(codec, value, says):
    with pytest.raises(CodecError, match=says):
        codec.encode(value)
    with pytest.raises(CodecError):
        codec.digest(value)


def test_the_hint_is_part_of_the_message():
    with pytest.raises(CodecError, match="name the type"):
        Codec[Any](hint="name the type").encode(object())


def test_a_value_that_contains_itself_is_refused():
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(CodecError):
        Codec[Any]().encode(circle)


def test_a_text_beyond_the_basic_plane_is_a_text():
    assert Codec[Any]().encode("\U0001f600") == '"\U0001f600"'


@pytest.mark.parametrize(
    "text",
    ["", "{", "3", '{"price":"1"}', '{"sku":"x","price":"much"}', "[]", '{"sku":"x","price":{}}', "nul"],
)
def test_a_stored_text_that_does_not_fit(text):
    with pytest.raises(CodecError, match="the stored value does not fit Line: ") as caught:
        Codec(Line).decode(text)
    assert not isinstance(caught.value, UnknownFields)


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (Line, '{"sku":"x","colour":"red"}'),
        (list[Line], '[{"sku":"x","colour":"red"}]'),
        (dict[str, Line], '{"k":{"sku":"x","colour":"red"}}'),
    ],
)
def test_an_unknown_field_is_an_error_of_its_own(type_, text):
    with pytest.raises(UnknownFields, match="colour"):
        Codec(type_).decode(text)


def test_upgrade_sees_the_raw_value_first():
    def upgrade(raw: dict[str, Any]) -> dict[str, Any]:
        return {"sku": raw.pop("name"), **raw}

    assert Codec(Line, upgrade=upgrade).decode('{"name":"x"}') == Line("x")
    with pytest.raises(CodecError, match="KeyError"):
        Codec(Line, upgrade=upgrade).decode("{}")


@pytest.mark.parametrize("type_", [Any, Line, dict[str, int], Line | None])
def test_an_upgrade_that_returns_none_is_refused(type_):
    codec: Codec[Any] = Codec(type_, upgrade=lambda raw: raw.clear())  # type: ignore[arg-type, func-returns-value]
    with pytest.raises(CodecError, match="upgrade returned None: it must return the dict, changed or not"):
        codec.decode('{"sku":"x"}')


def test_the_digest_omits_defaults():
    @dataclass
    class Wider(Line):
        tags: list[str] = field(default_factory=list)
        note: str = ""

    assert Codec(Wider).digest(Wider("x")) == Codec(Line).digest(Line("x"))
    assert Codec(Wider).digest(Wider("x", note="n")) != Codec(Line).digest(Line("x"))
    assert Codec(Line).digest(Line("x")) != Codec(Line).digest(Line("y"))
    assert len(Codec(Line | None).digest(None)) == 64


def test_ten_megabytes_work_and_twenty_name_the_limit():
    codec = Codec[Any]()
    ten = "x" * 10_000_000
    assert codec.decode(codec.encode(ten)) == ten
    with pytest.raises(
        TooLarge, match=rf"takes 20,000,002 bytes as JSON, the limit is {MAX_BYTES:,}: keep large things"
    ):
        codec.encode("x" * 20_000_000)


def test_the_limit_counts_bytes_not_characters():
    codec = Codec[Any](limit=10)
    assert codec.encode("12345678") == '"12345678"'
    with pytest.raises(TooLarge):
        codec.encode("123456789")
    assert codec.encode("ääää") == '"ääää"'
    with pytest.raises(TooLarge, match="takes 12 bytes"):
        codec.encode("äääää")


def test_a_time_without_offset_is_not_read_and_whole_numbers_may_be_written_as_floats():
    with pytest.raises(CodecError, match="'2024-05-06T07:08:00' has no UTC offset"):
        Codec(datetime).decode('"2024-05-06T07:08:00"')
    whole = Codec(int).decode("3.0")
    assert (whole, type(whole)) == (3, int)


def test_plain_input_is_taken_as_it_is_given_but_a_step_must_leave_what_comes_back():
    codec = Codec[Any]()
    given = {"pair": (1, 2), "by": {1: "a"}}
    assert codec.decode(codec.encode_input(given)) == {"pair": [1, 2], "by": {"1": "a"}}
    assert codec.digest(given) == codec.digest(codec.decode(codec.encode_input(given)))
    with pytest.raises(CodecError, match=r"\$\.pair is \(1, 2\): tuple is not a JSON type, so a list would come back"):
        codec.encode({"pair": (1, 2)})
    with pytest.raises(CodecError, match=r"a key of \$\.by is 1: JSON restores all keys as texts"):
        codec.encode({"by": {1: "a"}})


class Month(timedelta):
    """A subclass of a type that can be stored, which cannot be stored itself."""


class Names(list[str]):
    """Another one."""


class Code(str):
    """One that can."""

    __slots__ = ()


class Pair(NamedTuple):
    """Another one that can."""

    left: int


@pytest.mark.parametrize(
    ("type_", "value", "storable"),
    [
        (timedelta, Month(1), False),
        (list[str], Names("a"), False),
        (str, Code("a"), True),
        (Any, Names("a"), False),
        (Any, Code("a"), True),
        (Any, Pair(1), True),
        (Any, (1,), True),
    ],
)
def test_a_value_of_a_subclass_is_refused_with_a_remedy_that_works(type_, value, storable):
    with pytest.raises(CodecError) as caught:
        Codec(type_).encode(value)
    assert (f"declare {type(value).__name__} as the type" in str(caught.value)) == storable, caught.value
    if storable:
        assert Codec(type(value)).decode(Codec(type(value)).encode(value)) == value
    else:
        with pytest.raises(CodecError):
            Codec(type(value))


def test_payload_types():
    assert Codec(int).decode(Codec(int).encode(7)) == 7
    assert Codec(Line | None).decode("null") is None
    with pytest.raises(CodecError):
        Codec(int).decode('"seven"')


@attrs.define
class Seen:
    seen: int = attrs.field(init=False, default=0)


def test_a_wrong_value_of_a_field_that_the_constructor_does_not_take_is_refused():
    with pytest.raises(CodecError, match=r"expected int, found 'x' @ \$\.seen"):
        Codec(Seen).decode('{"seen": "x"}')
    assert Codec(Seen).decode('{"seen": 7}').seen == 7
    assert Codec(Seen).decode("{}").seen == 0


@pytest.mark.parametrize("type_", [set[str], frozenset[str], deque[str], tuple[str, ...], tuple[str, str], tuple])
@pytest.mark.parametrize("stored", ["ab", {"a": 1, "b": 2}])
def test_a_text_or_an_object_is_no_list_of_its_letters_or_keys(type_, stored):
    with pytest.raises(CodecError, match="expected a list"):
        Codec(type_).decode(json.dumps(stored))
