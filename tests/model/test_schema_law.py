"""The law of schemas: a JSON value meets the schema of a type if, and only if, a codec of the type reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from stepflow.errors import CodecError
from stepflow.model.codec import Codec
from stepflow.model.json_schema import json_schema
from stepflow.model.schema_check import problem_of
from tests.model.enum_types import ENUMS, Typed
from tests.model.type_trees import plain, typed

TEXTS = [
    "3", "-3", "2.5", "1e400", "nan", "x", "", "red", "RED", "SMALL", "a", "true", "1", "cat", "PT5S", "5", "10:00", "10:00:00+01:00", "2030-01-31",
    "2030-01-31T18:30:00", "2030-01-31T18:30:00Z", "2030-01-31T18:30:00+01:00[Europe/Paris]", "2030-01-31T18:30:00+01:00[Mars]",
    "12345678-1234-5678-1234-567812345678", "1.50", "ä", " ",
]  # fmt: skip
VALUES: list[Any] = [
    *TEXTS, 0, 1, 2, 3, 8, 3.0, 1.0, -1, -8, 2.5, 1e300, True, False, None, [], [1], ["x"], [1, "s"], {}, {"a": 1},
]  # fmt: skip
ODD = st.sampled_from(VALUES) | plain
WEAK = re.compile(r'"title": "(Strict|Checked)"')  # a schema cannot tell what these refuse
UNHASHABLE = re.compile("unhashable|expected (frozen)?set")  # a member of a set, at the top or inside of another type


@st.composite
def stored(draw: st.DrawFn, codec: Codec[Any], right: st.SearchStrategy[Any]) -> Any:
    """A stored value, or one of another kind, or one with something else at a place inside it."""
    if draw(st.integers(0, 3)) == 0:
        return draw(ODD)
    return _changed(draw, json.loads(codec.encode(draw(right))))


def _changed(draw: st.DrawFn, value: Any) -> Any:
    if not draw(st.booleans()):
        return value
    if isinstance(value, list) and value:
        at = draw(st.integers(0, len(value)))
        return [*value[:at], *([_changed(draw, value[at])] if at < len(value) else [draw(ODD)]), *value[at + 1 :]]
    if isinstance(value, dict):
        what = draw(st.sampled_from(["less", "more", "inside"]))
        if what == "more" or not value:
            return {**value, draw(st.sampled_from(TEXTS)): draw(ODD)}
        key = draw(st.sampled_from(sorted(value)))
        rest = {name: one for name, one in value.items() if name != key}
        return rest if what == "less" else {**rest, key: _changed(draw, value[key])}
    return draw(ODD)


@settings(suppress_health_check=list(HealthCheck), deadline=None)
@given(typed())
def test_the_example_of_a_message_is_read_by_the_codec(case: Typed) -> None:
    try:
        codec: Codec[Any] = Codec(case[0])
    except CodecError:
        return
    schema = json_schema(case[0])
    assert schema is not None
    found = re.search(r"give (?:an object|a list), e\.g\. ((?:(?! or ).)*)$", problem_of("\udc80", schema, schema))
    if found is None or WEAK.search(json.dumps(schema)) or '"lax"' in json.dumps(schema):
        return
    event("with an example")
    try:
        codec.decode(found[1])
    except CodecError as error:
        if not UNHASHABLE.search(str(error)):
            raise


@settings(suppress_health_check=list(HealthCheck), deadline=None)
@given(typed(), st.data())
def test_a_value_meets_the_schema_exactly_if_the_codec_reads_it(case: Typed, data: st.DataObject) -> None:
    type_, right, _near = case
    try:
        codec: Codec[Any] = Codec(type_)
    except CodecError:
        event("type refused")
        return
    _assert_law(type_, codec, data.draw(stored(codec, right)))


SHAPES: list[tuple[Callable[[Any], Any], Callable[[Any], Any]]] = [
    (lambda type_: type_, lambda value: value),
    (lambda type_: type_ | None, lambda value: value),
    (lambda type_: type_ | list[int], lambda value: value),
    (lambda type_: type_ | bool, lambda value: value),
    (lambda type_: list[type_], lambda value: [value]),
    (lambda type_: dict[str, type_], lambda value: {"k": value}),
    (lambda type_: dict[type_, int], lambda value: {value: 1} if isinstance(value, str) else value),
    (lambda type_: Literal[next(iter(type_))], lambda value: value),
]
"""Types that are made of another one, and stored values of them."""


@pytest.mark.parametrize("type_", [type_ for type_, _right, _near in ENUMS])
@pytest.mark.parametrize(("made", "within"), SHAPES)
def test_enums_of_every_kind_are_read_exactly_if_they_meet_their_schema(type_, made, within) -> None:
    try:
        codec: Codec[Any] = Codec(made(type_))
    except CodecError:
        assert made(type_) is not type_
        return
    for value in [*VALUES, *map(json.loads, map(Codec(type_).encode, type_))]:
        _assert_law(made(type_), codec, within(value))


def _assert_law(type_: Any, codec: Codec[Any], value: Any) -> None:
    schema, refusal = json_schema(type_), ""
    assert schema is not None
    problem = problem_of(value, schema, schema)
    try:
        codec.decode(json.dumps(value))
    except CodecError as error:
        refusal = str(error)
    weaker = WEAK.search(json.dumps(schema)) or UNHASHABLE.search(refusal)
    assert bool(problem) == bool(refusal) or (refusal and weaker), (type_, value, problem, refusal)
