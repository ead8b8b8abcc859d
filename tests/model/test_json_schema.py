"""JSON schemas of types: what is stored of a value meets the schema of its type, and what does not fit the type does not."""

from __future__ import annotations

import enum
import json
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import count
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar
from uuid import UUID

import attrs
import pydantic
import pytest

from stepflow.errors import CodecError
from stepflow.model.codec import Codec
from stepflow.model.json_schema import LONGEST, json_schema, schemas_text
from stepflow.model.schema_check import problem_of

T = TypeVar("T")
Cents = NewType("Cents", int)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: int


class Named(TypedDict, total=False):
    name: str


@attrs.define
class Line:
    sku: str
    price: Decimal
    count: int = 1


@dataclass
class Box(Generic[T]):
    inside: T
    labels: dict[str, str] = field(default_factory=dict)


@attrs.define
class Tree:
    name: str
    parts: list[Tree] = attrs.Factory(list)


@attrs.define
class Later:
    number: int = attrs.field(init=False)
    other: int = attrs.field(init=False, default=1)


@attrs.define
class Nothing:
    pass


class Kept(enum.Enum):
    SMALL = (1, "s")
    BIG = "b"
    LARGE = "b"  # noqa: PIE796 - another name of it


class Forgiving(enum.Enum):
    RED = "red"

    @classmethod
    def _missing_(cls, value: object) -> Forgiving | None:
        return cls.RED if value == "rouge" else None


class Model(pydantic.BaseModel):
    number: Annotated[int, pydantic.Field(ge=1)]
    text: str = "x"


@attrs.define
class Holder:
    model: Model
    box: Box[int]
    lines: list[Line]
    colour: Colour = Colour.RED


AT = datetime(2030, 1, 31, 18, 30, tzinfo=UTC)
VALUES: list[tuple[Any, Any]] = [
    (int, 3),
    (float, 2.5),
    (bool, True),
    (str, "a"),
    (type(None), None),
    (int | None, None),
    (int | str, "a"),
    (Cents, 3),
    (Annotated[int, "cents"], 3),
    (Literal["a", 2], 2),
    (Colour, Colour.BLUE),
    (Rights, Rights.READ | Rights.WRITE),
    (list[int], [1, 2]),
    (deque[int], deque([1])),
    (set[str], {"a"}),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2, 3)),
    (Point, Point(1, 2)),
    (dict[str, list[int]], {"a": [1]}),
    (Counter[str], Counter("aab")),
    (datetime, AT),
    (date, AT.date()),
    (time, time(18, 30, tzinfo=UTC)),
    (timedelta, timedelta(seconds=1.5)),
    (Decimal, Decimal("1.10")),
    (UUID, UUID(int=5)),
    (bytes, b"\xff\x00"),
    (Named, {"name": "a"}),
    (Line, Line("a", Decimal(1))),
    (Box[int], Box(3)),
    (Tree, Tree("a", [Tree("b")])),
    (Model, Model(number=4)),
    (Holder, Holder(Model(number=1), Box(2), [Line("a", Decimal(1))])),
    (Any, {"a": [1, None]}),
]


@pytest.mark.parametrize(("type_", "value"), VALUES, ids=lambda one: str(one)[:30])
def test_what_is_stored_of_a_value_meets_the_schema_of_its_type(type_, value):
    schema = json_schema(type_)
    assert schema is not None
    assert problem_of(json.loads(Codec(type_).encode(value)), schema, schema) == ""


OTHERS: list[tuple[Any, Any]] = [
    (int, "a"),
    (bool, 1),
    (str, 1),
    (int | None, "a"),
    (Literal["a", 2], "b"),
    (Colour, "green"),
    (Rights, 8),
    (Rights, "1"),
    (list[int], [1, "a"]),
    (tuple[int, str], [1]),
    (dict[str, int], {"a": "b"}),
    (datetime, "2030-01-31T18:30:00"),
    (datetime, "soon"),
    (date, "soon"),
    (Named, {"name": 1}),
    (Line, {"sku": "a"}),
    (Line, {"sku": "a", "price": "1", "colour": "red"}),
    (Box[int], {"inside": "a"}),
    (Tree, {"name": "a", "parts": [{"name": 1}]}),
    (Model, {"number": 0}),
    (Decimal, "x"),
    (Decimal, [0, [1], 2]),
    (UUID, "x"),
    (time, "noon"),
    (timedelta, "PT5S"),
    (bytes, "\u00e4"),
    (dict[int, str], {"a": "b"}),
    (dict[date, int], {"soon": 1}),
    (dict[Colour, int], {"green": 1}),
    (set[str], "ab"),
    (deque[str], "ab"),
    (tuple[str, ...], {"a": 1}),
    (tuple[str, str], "ab"),
    (int | list[int], "3"),
    (Nothing, {"a": 1}),
    (Later, {"number": "x"}),
    (Later, {"number": 1, "other": "x"}),
    (Later, {}),
]


@pytest.mark.parametrize(("type_", "stored"), OTHERS, ids=lambda one: str(one)[:30])
def test_what_the_type_does_not_take_does_not_meet_its_schema(type_, stored):
    with pytest.raises(CodecError):
        Codec(type_).decode(json.dumps(stored))
    schema = json_schema(type_)
    assert schema is not None
    assert problem_of(stored, schema, schema) != ""


def test_a_text_that_is_no_member_of_an_enum_is_told_those_that_are():
    many = enum.Enum("Many", {f"m{n}": n for n in range(30)})
    with pytest.raises(CodecError, match="expected one of 1, 2, found '1'"):
        Codec(enum.IntEnum("Level", {"LOW": 1, "HIGH": 2})).decode('"1"')
    with pytest.raises(CodecError, match="expected one of 'red', 'blue', found 'green'"):
        Codec(Colour).decode('"green"')
    with pytest.raises(CodecError, match=r"expected one of 'red', 'blue', found 'green' @ \$\.colour"):
        Codec(Holder).decode('{"model": {"number": 1}, "box": {"inside": 1}, "lines": [], "colour": "green"}')
    with pytest.raises(CodecError, match=r"expected one of 0, 1, .*, 19, \.\.\., found 77"):
        Codec(many).decode("77")
    assert Codec(Rights).decode("3") == Rights.READ | Rights.WRITE


def test_the_place_and_the_remedy_are_told():
    schema = json_schema(Holder)
    assert schema is not None
    line = {"sku": "a", "price": "1", "count": "many"}
    stored = {"model": {"number": 1}, "box": {"inside": 1}, "lines": [line]}
    assert problem_of(stored, schema, schema) == 'lines[0].count: "many" does not fit: give a whole number, e.g. 3'


def test_an_example_is_one_of_the_schema():
    schema = json_schema(Holder)
    assert schema is not None
    wanted = problem_of([1], schema, schema).partition("give an object, e.g. ")[2]
    assert json.loads(wanted).keys() >= {"model", "box"}
    assert problem_of(json.loads(wanted), schema, schema) == ""
    assert problem_of({"model": {"number": 1}}, schema, schema).startswith(
        'it has no "box": give an object, e.g. {"inside": '
    )


class Open(pydantic.BaseModel, extra="allow"):
    number: int


class Times(pydantic.BaseModel):
    at: datetime
    lasts: timedelta


class Aliased(pydantic.BaseModel, populate_by_name=True):
    name: str = pydantic.Field(alias="fullName")


class Lax(pydantic.BaseModel, str_strip_whitespace=True):
    number: int
    sure: bool
    on: date
    lasts: timedelta
    name: str = pydantic.Field(max_length=3)


class Short(NamedTuple):
    a: int
    b: str = "z"


class Lenient(pydantic.BaseModel):
    number: int

    @pydantic.model_validator(mode="before")
    @classmethod
    def of_text(cls, given: object) -> object:
        return {"number": given} if isinstance(given, str) else given


@pytest.mark.parametrize(
    ("type_", "stored"),
    [
        (Open, {"number": 1, "more": "x"}),
        (Times, {"at": "2030-01-01T00:00:00", "lasts": 5}),
        (Times, {"at": "2030-01-01T00:00:00Z", "lasts": "PT5S"}),
        (Aliased, {"name": "x"}),
        (Aliased, {"fullName": "x"}),
        (Short, [1]),
        (Decimal, 1.5),
        (Decimal, 3),
        (Box[Literal["a/b"]], {"inside": "a/b"}),
        (int, "3"),
        (bool, "true"),
        (float, "2.5"),
        (timedelta, "5"),
        (Kept, "SMALL"),
        (Kept, "LARGE"),
        (Kept, "b"),
        (Forgiving, "rouge"),
        (dict[Colour, int], {"red": 1}),
        (dict[int, str], {"-3": "b"}),
        (Annotated[Counter[str], "note"], {"a": 1}),
        (Lax, {"number": "3", "sure": "yes", "on": "2030-01-31T00:00:00", "lasts": "PT5S", "name": "  abc  "}),
    ],
    ids=lambda one: str(one)[:30],
)
def test_what_the_type_takes_in_other_forms_meets_its_schema(type_, stored):
    Codec(type_).decode(json.dumps(stored))
    schema = json_schema(type_)
    assert schema is not None
    assert problem_of(stored, schema, schema) == ""


def test_types_without_a_schema():
    assert json_schema(complex) is None
    assert json_schema(list[complex]) is None
    assert json_schema(Lenient) is None  # a validator takes what the types do not tell
    assert json_schema(Any) == {}
    assert schemas_text({"any": Any, "complex": complex}) == ""
    assert json.loads(schemas_text({"a": int, "any": Any})) == {"a": {"type": "integer"}}


def test_none_is_the_type_of_any_payload():
    assert json_schema(None) == {}
    assert schemas_text({"any": None}) == ""
    assert json_schema(list[None]) == {"type": "array", "items": {"type": "null"}}


def test_an_empty_tuple_takes_nothing_in_it():
    assert problem_of([], schema := json_schema(tuple[()]) or {}, schema) == ""
    assert problem_of([1], schema, schema) != ""


@attrs.define
class Made:
    """Its text would be another one in each process."""

    choice: int | str
    token: str = attrs.field(factory=lambda: str(next(TOKENS)))
    at: float = 0.0


TOKENS = count()  # used when a Made is made


def test_a_stored_schema_stays_if_it_takes_the_same_values():
    text = schemas_text({"e": Made})
    assert '"default":"' not in text
    other = text.replace('[{"type":"integer"},{"type":"string"}]', '[{"type":"string"},{"type":"integer"}]')
    other = other.replace('"default":0.0', '"default":1.5').replace('"title":"Made"', '"title":"Other"')
    assert other != text
    assert schemas_text({"e": Made}, other) == other
    narrower = text.replace('[{"type":"integer"},{"type":"string"}]', '[{"type":"integer"}]')
    assert schemas_text({"e": Made}, narrower) == text != narrower
    assert schemas_text({"e": complex}, text) == ""


def test_a_long_schema_is_not_stored():
    large = attrs.make_class("Large", {f"field_{n}": attrs.field(type=int) for n in range(LONGEST // 10)})
    assert schemas_text({"large": large}) == ""
