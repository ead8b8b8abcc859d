"""Arbitrary types with values: right ones, and ones that a type checker accepts although they are of another class."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, Optional, TypedDict, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
from hypothesis import strategies as st

from tests.model.enum_types import ENUM_KEYS, ENUMS, Colour, Flags, Number, Typed, Word

T = TypeVar("T")
Sku = NewType("Sku", str)


class Code(str):
    """A text with a name."""


class Loud(str):
    def __new__(cls, text: str) -> Loud:
        return super().__new__(cls, text.upper())


class Count(int):
    """A number with a name."""


class Ratio(float):
    """A number with a name."""


class Texts(list[str]):
    """A list with a name."""


class Table(dict[str, int]):
    """A dict with a name."""


class Day(date):
    """A date with a name."""


class Moment(datetime):
    """A point in time with a name."""


class Here(tzinfo):
    """A zone that nobody can name."""

    def utcoffset(self, _when: datetime | None) -> timedelta:
        return timedelta(hours=1)

    def dst(self, _when: datetime | None) -> timedelta:
        return timedelta(0)

    def tzname(self, _when: datetime | None) -> str:
        return "here"


class Pair(NamedTuple):
    a: int
    b: str = ""


class Longer(Pair):
    """A named tuple of another class."""


def _noted(a: int, b: str) -> Longer:
    found = Longer(a, b)
    found.note = "lost"  # type: ignore[attr-defined]  # its class has no slots
    return found


class Row(TypedDict):
    a: int
    b: str | None


class Sparse(TypedDict, total=False):
    a: int
    b: list[float]


class Partly(TypedDict):
    a: int
    b: NotRequired[date]


@dataclass
class Line:
    sku: str
    price: Decimal = Decimal(0)
    n: float = 1.0


@dataclass
class Urgent(Line):
    """No field of its own."""


@attrs.define
class Parcel:
    weight: float
    lines: list[Line] = attrs.Factory(list)
    _secret: int = attrs.field(default=0, alias="secret")
    seen: int = attrs.field(init=False, default=0)


@attrs.define
class Express(Parcel):
    """No field of its own."""


@attrs.frozen
class Point:
    x: int
    y: int = 0
    total: int = attrs.field(init=False)

    @total.default
    def _total(self) -> int:
        return self.x + self.y


@dataclass(frozen=True)
class Fixed:
    when: datetime
    days: tuple[date, ...] = ()


@dataclass
class Box(Generic[T]):
    inside: T
    more: list[T] = field(default_factory=list)


@dataclass
class IntBox(Box[int]):
    name: str = ""


@dataclass(init=False)
class Bare:
    """Its constructor takes nothing."""

    n: int = 0


@dataclass(init=False)
class Wider(Line):
    """Its constructor is that of a class with fewer fields."""

    m: int = 0


@attrs.define(init=False)
class BareParcel:
    weight: float = 0


def _set(class_: type, **values: Any) -> Any:
    found = class_.__new__(class_)
    for name, value in values.items():
        setattr(found, name, value)
    return found


@attrs.define
class Tree:
    kids: list[Tree] = attrs.Factory(list)
    left: Tree | None = None


@dataclass
class Cat:
    kind: Literal["cat"] = "cat"
    lives: int = 9


@dataclass
class Dog:
    kind: Literal["dog"] = "dog"
    lives: int = 1


@attrs.define
class Checked:
    n: int = attrs.field(default=1, validator=attrs.validators.ge(0))
    tags: list[str] = attrs.field(factory=list, converter=list)


@dataclass
class Opening:
    """Its constructor changes what it is given."""

    total: int = 0
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.log.append("opened")


@dataclass
class Strict:
    n: int = 0

    def __post_init__(self) -> None:
        if self.n < 0:
            raise ValueError("n is negative")


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
floats = st.floats(allow_nan=False, allow_infinity=False)
zones = st.sampled_from(
    [UTC, timezone(timedelta(hours=-3, minutes=30)), timezone(timedelta(seconds=77), "odd"), ZoneInfo("UTC")]
    + [ZoneInfo(key) for key in ("America/New_York", "Europe/Paris", "Australia/Lord_Howe", "Africa/Monrovia")]
)
folds = st.sampled_from([0, 1])
moments = st.builds(
    lambda at, fold: at.replace(fold=fold),
    st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=zones)  # noqa: DTZ001
    | st.datetimes(min_value=datetime(2026, 10, 24), max_value=datetime(2026, 11, 2), timezones=zones)  # noqa: DTZ001
    | st.datetimes(min_value=datetime(2026, 3, 7), max_value=datetime(2026, 3, 30), timezones=zones),  # noqa: DTZ001
    folds,
)
times = st.builds(
    lambda of_day, zone, fold: of_day.replace(tzinfo=zone, fold=fold), st.times(), st.none() | zones, folds
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
decimals = st.decimals(allow_nan=False) | st.sampled_from([Decimal("1.50"), Decimal("-0"), Decimal("1E+30")])
lines = st.builds(Line, texts, decimals, floats)
points = st.builds(Point, st.integers(), st.integers())
trees = st.recursive(
    st.builds(Tree), lambda inner: st.builds(Tree, st.lists(inner, max_size=2), st.none() | inner), max_leaves=4
)


KEYS: list[Typed] = [
    *ENUM_KEYS,
    (str, texts, st.just("\ud800") | st.sampled_from(Word) | texts.map(Code)),
    (int, st.integers(), st.booleans() | st.sampled_from(Number) | st.integers().map(Count)),
    (float, floats, st.integers() | st.booleans() | st.sampled_from([float("nan"), float("inf"), 10**400])),
    (bool, st.booleans(), st.just(1)),
    (UUID, st.uuids(), texts),
    (Decimal, decimals, st.sampled_from([Decimal("nan"), Decimal("snan"), "1,50", 1])),
    (date, st.dates(), moments | st.builds(Day, st.just(2026), st.just(1), st.just(1))),
    (datetime, moments, st.datetimes() | st.datetimes(timezones=st.just(Here())) | st.just(Moment(2026, 1, 1, tzinfo=UTC))),
    (time, times, st.just(time(9, tzinfo=Here()))),
    (timedelta, st.timedeltas(), st.sampled_from([timedelta.max, timedelta.min])),
    (bytes, st.binary(max_size=5), st.just(bytearray(b"x"))),
    (Sku, texts.map(Sku), texts.map(Code)),
    (Literal["x", "y"], st.sampled_from(["x", "y"]), st.just(Code("x"))),
    (Code, texts.map(Code), texts),
    (Ratio, floats.map(Ratio), floats | st.sampled_from([Ratio("nan"), Ratio("inf"), Ratio("-inf")])),
]  # fmt: skip
LEAVES: list[Typed] = [
    *KEYS,
    *ENUMS[len(ENUM_KEYS) :],
    (Any, plain, st.sampled_from([{1: "a"}, {"a": (1,)}, b"x", {"a": Decimal(1)}, {"a": Word.A}, [Number.ONE], Table(a=1)])),
    (object, plain, st.just({"a": {1: 2}})),
    (Literal[1, True, "x", None], st.sampled_from([1, True, "x", None]), st.just(1.0)),
    (Path, texts.filter(lambda text: "\0" not in text).map(Path), texts),
    (Count, st.integers().map(Count), st.integers()),
    (Loud, texts.map(Loud), texts),
    (Pair, st.builds(Pair, st.integers(), texts), st.builds(Longer, st.integers(), texts) | st.tuples(st.integers(), texts)),
    (Longer, st.builds(Longer, st.integers(), texts), st.builds(_noted, st.integers(), texts) | st.builds(Pair, st.integers())),
    (Row, st.fixed_dictionaries({"a": st.integers(), "b": st.none() | texts}), st.sampled_from([{"a": 1}, {"a": 1, "b": "", "c": 2}, OrderedDict(a=1, b="")])),
    (Sparse, st.fixed_dictionaries({}, optional={"a": st.integers(), "b": st.lists(floats)}), st.just({"c": 1})),
    (Partly, st.fixed_dictionaries({"a": st.integers()}, optional={"b": st.dates()}), st.just({"b": date(2026, 1, 1)})),
    (Line, lines, st.builds(Urgent, texts, decimals)),
    (Parcel, st.builds(Parcel, floats, st.lists(lines, max_size=2), st.integers()), st.builds(Express, floats) | st.builds(Parcel, st.integers())),
    (Point, points, st.just(3)),
    (Fixed, st.builds(Fixed, moments, st.lists(st.dates(), max_size=2).map(tuple)), st.builds(Fixed, moments, st.lists(st.dates()))),
    (IntBox, st.builds(IntBox, st.integers(), st.lists(st.integers(), max_size=2), texts), st.builds(Box, st.integers())),
    (Tree, trees, st.builds(Tree, st.just([None]))),
    (Cat | Dog, st.builds(Cat) | st.builds(Dog), lines),
    (Checked, st.builds(Checked, st.integers(0)), st.just(Checked(1, ["a"]))),
    (Strict, st.builds(Strict, st.integers(0)), st.just(Strict(1))),
    (int | float, st.integers() | floats, st.booleans()),
    (str | int | None, texts | st.integers() | st.none(), floats),
    (Colour | Flags, st.sampled_from(Colour) | st.sampled_from(Flags), st.just("red")),
]  # fmt: skip
REFUSED: list[Typed] = [
    (Opening, st.nothing(), st.builds(Opening)),
    (Bare, st.nothing(), st.integers().map(lambda n: _set(Bare, n=n))),
    (Wider, st.nothing(), st.integers().map(lambda n: _set(Wider, sku="", price=Decimal(1), n=1.0, m=n))),
    (BareParcel, st.nothing(), floats.map(lambda n: _set(BareParcel, weight=n))),
    (str | bytes, st.nothing(), texts | st.binary()),
    (date | datetime, st.nothing(), moments),
    (list[int] | tuple[int, ...], st.nothing(), st.just([1]) | st.just((1,))),
    (dict[Any, int], st.nothing(), st.just({1: 1, "1": 2})),
    (dict[int | str, int], st.nothing(), st.just({1: 1, "1": 2})),
]


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _lists(one: Any, **size: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(one, max_size=2, **size)


def _dicts(one: Any, **size: int) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(texts, one, max_size=2, **size)


def _made(type_: Any, right: Any, near: Any) -> Typed:
    made = make_dataclass("Made", [("v", type_), ("w", Optional[type_], None)])  # noqa: UP045 - of any type
    return made, st.builds(made, right, st.none() | right), st.builds(made, near)


CONTAINERS: list[Callable[[Any, Any, Any], Typed]] = [
    lambda t, right, near: (list[t], _lists(right), _lists(near, min_size=1) | _lists(right).map(tuple)),
    lambda t, right, near: (Sequence[t], _lists(right), _lists(right, min_size=1).map(tuple)),
    lambda t, right, near: (tuple[t, ...], _lists(right).map(tuple), _lists(near, min_size=1).map(tuple)),
    lambda t, right, near: (tuple[int, t], st.tuples(st.integers(), right), st.tuples(st.integers(), near)),
    lambda t, right, near: (deque[t], _lists(right).map(deque), _lists(right).map(lambda a: deque(a, 3))),
    lambda t, right, near: (dict[str, t], _dicts(right), _dicts(near, min_size=1)),
    lambda t, right, near: (OrderedDict[str, t], _dicts(right).map(OrderedDict), _dicts(right)),
    lambda t, right, near: (defaultdict[str, list[t]], _dicts(_lists(right)).map(lambda a: defaultdict(list, a)), st.just(defaultdict(set))),
    lambda t, right, near: (Optional[t], st.none() | right, near),  # noqa: UP045
    lambda t, right, near: (Annotated[t, "note"], right, near),
    _made,
    lambda t, right, near: (Box[t], st.builds(Box, right, _lists(right)), st.builds(Box, near)),
    lambda t, right, near: (set[t], _lists(right.filter(_hashable)).map(set), _lists(near.filter(_hashable)).map(set)),
    lambda t, right, near: (frozenset[t], _lists(right.filter(_hashable)).map(frozenset), _lists(right.filter(_hashable)).map(set)),
    lambda t, right, near: (int | list[t], st.integers() | _lists(right), _lists(near)),
]  # fmt: skip
KEYED: list[Callable[[Any, Any, Any], Typed]] = [
    lambda t, right, near: (dict[t, int], _counts(right), _counts(near)),
    lambda t, right, near: (Counter[t], _counts(right).map(Counter), _counts(near).map(Counter)),
]


def _counts(keys: Any) -> st.SearchStrategy[dict[Any, int]]:
    return st.dictionaries(keys.filter(_hashable), st.integers(), max_size=3)


def typed(depth: int = 2) -> st.SearchStrategy[Typed]:
    """Types with their values, nested up to `depth` deep."""
    keyed = st.builds(lambda make, key: make(*key), st.sampled_from(KEYED), st.sampled_from(KEYS))
    leaves = st.sampled_from(LEAVES) | keyed
    if not depth:
        return leaves
    return leaves | st.builds(lambda make, inner: make(*inner), st.sampled_from(CONTAINERS), typed(depth - 1))
