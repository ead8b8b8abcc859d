"""Forms made of types: the fields of each, and that what is filled in means the value."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypedDict

import attrs
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import FormData

from stepflow.model.codec import Codec
from stepflow.model.json_schema import json_schema
from stepflow.server.errors import Refusal
from stepflow.server.ui.schema_form import fields_of, filled, value_of


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@attrs.define
class Inner:
    street: str
    number: int | None = None


@dataclass
class Outer:
    name: str
    inner: Inner
    colour: Colour
    size: Literal[1, 2]
    price: float = 1.5
    sure: bool = False
    at: datetime | None = None
    tags: list[str] = field(default_factory=list)


class Dictionary(TypedDict):
    one: int
    two: str


class Model(pydantic.BaseModel):
    number: int
    text: str = "x"


@attrs.define
class Tree:
    label: str
    parts: list[Tree] = attrs.Factory(list)


def form(type_: Any, **values: str) -> Any:
    """The value of a form for a type, the fields named by the ends of their names."""
    fields = fields_of(json_schema(type_), "input", "input")
    sent = {one.name: values.get(one.name.removeprefix("input").removeprefix("."), one.shown) for one in fields}
    return Codec(type_).decode(json.dumps(value_of(fields, FormData(sent))))


def test_every_kind_of_field():
    fields = {one.name: one for one in fields_of(json_schema(Outer), "input", "input")}
    assert {name: one.kind for name, one in fields.items()} == {
        "input.name": "text",
        "input.inner.street": "text",
        "input.inner.number": "whole",
        "input.colour": "select",
        "input.size": "select",
        "input.price": "number",
        "input.sure": "select",
        "input.at": "text",
        "input.tags": "json",
    }
    assert [one.label for one in fields.values()][1:3] == ["inner / street", "inner / number"]
    assert (fields["input.price"].shown, fields["input.sure"].shown) == ("1.5", "false")


def test_what_is_filled_in_means_the_value():
    given = {"name": "", "inner.street": "Main", "colour": '"blue"', "size": "2", "tags": '["a"]'}
    assert form(Outer, **given) == Outer("", Inner("Main"), Colour.BLUE, 2, tags=["a"])
    more = {"inner.number": "3", "sure": "true", "price": "2", "at": "2030-01-31T18:30:00+00:00"}
    at = datetime(2030, 1, 31, 18, 30, tzinfo=UTC)
    assert form(Outer, **given, **more) == Outer("", Inner("Main", 3), Colour.BLUE, 2, 2.0, True, at, ["a"])
    assert form(Dictionary, one="1", two="b") == {"one": 1, "two": "b"}
    assert form(Model, number="4") == Model(number=4, text="x")
    assert form(Tree, label="a", parts='[{"label": "b"}]') == Tree("a", [Tree("b")])


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        (str, "a", "a"),
        (str, "", ""),
        (int, "3", 3),
        (float, "2.5", 2.5),
        (bool, "true", True),
        (Colour, '"red"', Colour.RED),
        (list[int], "[1, 2]", [1, 2]),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (int | None, "", None),
        (str | None, "", None),
        (Inner | None, '{"street": "x"}', Inner("x")),
        (Any, '{"a": [1]}', {"a": [1]}),
    ],
)
def test_a_type_of_one_field(type_, text, value):
    schema = json_schema(type_)
    (one,) = fields_of(schema or None, "input", "input")
    assert Codec(type_).decode(json.dumps(value_of([one], FormData({"input": text})))) == value


WRONG = {
    "no number": (int, "many", "'many' is not a whole number, e.g. 3"),
    "a text in quotes": (int, '"3"', "'\"3\"' is no number"),
    "a truth value": (float, "true", "'true' is no number"),
    "nothing": (int, " ", "input: give a value"),
    "no JSON": (list[int], "[1", "'[1' is not JSON"),
}


@pytest.mark.parametrize(("type_", "text", "why"), WRONG.values(), ids=WRONG)
def test_what_is_none_is_refused_with_the_name_of_the_field(type_, text, why):
    fields = fields_of(json_schema(type_), "input", "input")
    with pytest.raises(Refusal) as refused:
        value_of(fields, FormData({"input": text}))
    assert (refused.value.status, why in refused.value.message) == (400, True), refused.value.message


def test_a_type_that_has_no_schema_is_one_field_of_json():
    (one,) = fields_of(json_schema(complex), "input", "input")
    assert one.kind == "json"


def test_a_large_type_is_one_field_of_json():
    many = {"type": "object", "properties": {f"p{number}": {"type": "integer"} for number in range(61)}}
    assert [one.kind for one in fields_of(many, "input", "input")] == ["json"]


@given(st.builds(Outer, name=st.text(), inner=st.builds(Inner, street=st.text()), colour=st.sampled_from(Colour)))
def test_a_form_that_is_sent_again_unchanged_means_the_same(outer):
    stored = json.loads(Codec(Outer).encode(outer))
    fields = fields_of(json_schema(Outer), "input", "input")

    def text(one: Any) -> str:
        value: Any = stored
        for key in one.path:
            value = value[key]
        return "" if value is None else value if one.kind == "text" else json.dumps(value)

    sent = FormData({one.name: text(one) for one in fields})
    again = FormData({one.name: one.shown for one in filled(fields, sent)})
    assert Codec(Outer).decode(json.dumps(value_of(fields, again))) == outer
