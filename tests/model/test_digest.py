"""Equal inputs have equal digests whatever their spelling; digests that were stored before are still known."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow.model.codec import Codec
from tests.model.enum_types import Colour

PARIS = ZoneInfo("Europe/Paris")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass
class Pay:
    amount: float = 0.0
    price: Decimal = Decimal(0)
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    tags: set[str] = field(default_factory=set)
    meta: dict[str, Any] = field(default_factory=dict)


@attrs.define
class Traced:
    n: int = 0
    trace: str = attrs.field(default="", eq=False)


@dataclass
class Noted:
    n: int = 0
    note: str = field(default="", compare=False)


@pytest.mark.parametrize(
    ("type_", "one", "other"),
    [
        (float, 10, 10.0),
        (float, 0.0, -0.0),
        (float, True, 1.0),
        (int, True, 1),
        (int | float, 2, 2.0),
        (list[float], [1, 2.5], [1.0, 2.5]),
        (dict[float, int], {1: 2}, {1.0: 2}),
        (dict[Decimal, int], {Decimal("1.0"): 2}, {Decimal("1.00"): 2}),
        (Any, {"a": 1, "b": [2.0]}, {"b": [2], "a": 1.0}),
        (dict, {"a": 1.0}, {"a": 1}),
        (Decimal, Decimal("1.0"), Decimal("1.00")),
        (Decimal, Decimal("1E+2"), Decimal("100")),
        (Decimal, Decimal("-0"), Decimal("0.00")),
        (datetime, NOON, NOON.astimezone(PARIS)),
        (datetime, NOON, NOON.astimezone(timezone(timedelta(hours=-3)))),
        (time, time(9, tzinfo=UTC), time(11, tzinfo=timezone(timedelta(hours=2)))),
        (time, time(1, tzinfo=timezone(timedelta(hours=2))), time(0, 30, tzinfo=timezone(timedelta(minutes=90)))),
        (dict[str, int], {"a": 1, "b": 2}, OrderedDict(b=2, a=1) and {"b": 2, "a": 1}),
        (set[float], {1, 2}, {2.0, 1.0}),
        (Pay, Pay(amount=0), Pay()),
        (Pay, Pay(10, Decimal("1.50"), NOON), Pay(10.0, Decimal("1.5"), NOON.astimezone(PARIS))),
        (Traced, Traced(1, "a"), Traced(1, "b")),
        (Noted, Noted(1, "a"), Noted(1, "b")),
        (list[Colour], [Colour.RED], [Colour("red")]),
    ],
)
def test_equal_values_have_equal_digests(type_, one, other):
    assert one == other
    codec: Codec[Any] = Codec(type_)
    assert codec.digest(one) == codec.digest(other)
    assert codec.digest(codec.decode(codec.encode(one))) == codec.digest(one)


@pytest.mark.parametrize(
    ("type_", "one", "other"),
    [
        (float, 1, 1.5),
        (float, 10**400, 10**400 + 1),
        (float, 2**53 + 1, 2.0**53),
        (Decimal, Decimal("1.0"), Decimal("10")),
        (datetime, NOON, NOON.replace(tzinfo=PARIS)),
        (time, time(9, tzinfo=UTC), time(9)),
        (Any, {"a": 1}, {"a": "1"}),
        (OrderedDict[str, int], OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)),
        (Traced, Traced(1), Traced(2)),
    ],
)
def test_other_values_have_other_digests(type_, one, other):
    assert one != other
    codec: Codec[Any] = Codec(type_)
    assert codec.digest(one) != codec.digest(other)


@given(st.decimals(allow_nan=False), st.decimals(allow_nan=False))
def test_decimals_have_equal_digests_if_and_only_if_they_are_equal(one, other):
    codec = Codec(Decimal)
    assert (codec.digest(one) == codec.digest(other)) == (one == other)
    if one.is_finite():
        sign, digits, exponent = one.as_tuple()
        assert codec.digest(one) == codec.digest(Decimal((sign, (*digits, 0), int(exponent) - 1)))


FORMER = [
    (
        Pay,
        Pay(10, Decimal("1.50"), datetime(2026, 1, 1, 12, tzinfo=PARIS), {"b", "a"}, {"x": 1.0}),
        "565954fee2bb79b09e6866f4f94489044b694c20a8cb3c41657544614143658d",
    ),
    (Any, {"b": 1.0, "a": [1, None]}, "b66379b4ec39a03c06a12cfcad01965fd1dde8210767c3d83c81c8656915eb24"),
    (Any, {"b": 1, "a": [1, None]}, "28aaa2efb398aecfba7117c4101dc0b6f7a73ddf356ce57189d2fce19c134dad"),
]


@pytest.mark.parametrize(("type_", "value", "digest"), FORMER)
def test_digests_of_versions_before_are_known(type_, value, digest):
    codec: Codec[Any] = Codec(type_)
    assert codec.is_former_digest(value, digest)
    assert not codec.is_former_digest(value, digest[::-1])
